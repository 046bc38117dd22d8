// SPDX-License-Identifier: LGPL-2.1-or-later
#include "vmm/kvm_state.h"

#include <gtest/gtest.h>

namespace inspect {
namespace {

constexpr uint64_t kSecond = 2'600'000'000;

TEST(RestoredDeadline, StaysWhereKvmTookTheTsc) {
    EXPECT_EQ(restored_deadline(101 * kSecond, 100 * kSecond, 100 * kSecond + 5000), 101 * kSecond);
    EXPECT_EQ(restored_deadline(99 * kSecond, 100 * kSecond, 100 * kSecond), 99 * kSecond);
}

TEST(RestoredDeadline, IsNowWhereTheTscIsTheHosts) {
    const uint64_t day = 86400 * kSecond;
    EXPECT_EQ(restored_deadline(day + kSecond, day, 2 * day), day + kSecond) << "past, so it fires at once";
    EXPECT_EQ(restored_deadline(3 * day, day, 2 * day), 2 * day);
}

TEST(RestoredDeadline, IsNowWhenTheHostWasBootedSince) {
    const uint64_t day = 86400 * kSecond;
    EXPECT_EQ(restored_deadline(day + kSecond, day, 5 * kSecond), 5 * kSecond);
}

TEST(RestoredDeadline, NoneStaysNone) {
    EXPECT_EQ(restored_deadline(0, 100 * kSecond, 5), 0u);
    EXPECT_EQ(restored_deadline(0, 5, 100 * kSecond), 0u);
}

}  // namespace
}  // namespace inspect
