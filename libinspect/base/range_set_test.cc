// SPDX-License-Identifier: LGPL-2.1-or-later
#include "base/range_set.h"

#include <gtest/gtest.h>

#include <random>

namespace inspect {
namespace {

TEST(RangeSet, IsWhatAMapOfBitsIs) {
    std::mt19937_64 random(1);
    for (int round = 0; round < 200; ++round) {
        RangeSet set;
        std::vector<bool> bits(200);
        for (int i = 0; i < 12; ++i) {
            const uint64_t offset = random() % 180, length = random() % 20;
            set.add(offset, length);
            for (uint64_t at = offset; at < offset + length; ++at) bits[at] = true;
        }
        uint64_t total = 0;
        for (size_t i = 0; i < bits.size(); ++i) total += bits[i] ? 1 : 0;
        EXPECT_EQ(set.total(), total);
        for (size_t i = 1; i < set.ranges().size(); ++i)
            EXPECT_GT(set.ranges()[i].begin, set.ranges()[i - 1].end);
        const uint64_t from = random() % 150, size = 1 + random() % 50;
        std::vector<bool> seen(200, true);
        set.for_each_gap(from, size, [&](uint64_t offset, uint64_t length) {
            EXPECT_GT(length, 0U);
            for (uint64_t at = offset; at < offset + length; ++at) seen[at] = false;
        });
        bool covered = true;
        for (uint64_t at = from; at < from + size; ++at) {
            EXPECT_EQ(seen[at], bits[at]);
            covered = covered && bits[at];
        }
        EXPECT_EQ(set.covers(from, size), covered);
    }
}

}  // namespace
}  // namespace inspect
