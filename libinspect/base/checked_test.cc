// SPDX-License-Identifier: LGPL-2.1-or-later
#include "base/checked.h"

#include <gtest/gtest.h>

#include <limits>

namespace inspect {
namespace {

constexpr uint64_t kMax = std::numeric_limits<uint64_t>::max();

TEST(Checked, AddAndMulReportOverflow) {
    EXPECT_EQ(checked_add<uint64_t>(1, 2), 3u);
    EXPECT_EQ(checked_add<uint64_t>(kMax, 1), std::nullopt);
    EXPECT_EQ(checked_mul<uint32_t>(1u << 16, 1u << 16), std::nullopt);
    EXPECT_EQ(checked_mul<uint32_t>(1u << 15, 1u << 16), 1u << 31);
}

TEST(Checked, RangeFitsNeverWraps) {
    EXPECT_TRUE(range_fits(0, 0, 0));
    EXPECT_TRUE(range_fits(4, 4, 8));
    EXPECT_FALSE(range_fits(5, 4, 8));
    EXPECT_FALSE(range_fits(9, 0, 8));
    EXPECT_FALSE(range_fits(kMax, kMax, kMax - 1));
    EXPECT_FALSE(range_fits(1, kMax, kMax));
}

}  // namespace
}  // namespace inspect
