// SPDX-License-Identifier: LGPL-2.1-or-later
#include <gtest/gtest.h>

#include <inspect/resize.h>

#include "base/units.h"

namespace inspect {
namespace {

struct SizeCase {
    const char* text;
    uint64_t of;
    uint64_t result;
};
class SizeChanges : public ::testing::TestWithParam<SizeCase> {};
TEST_P(SizeChanges, Apply) {
    EXPECT_EQ(SizeChange::parse(GetParam().text).apply(GetParam().of), GetParam().result);
}
INSTANTIATE_TEST_SUITE_P(
    All, SizeChanges,
    ::testing::Values(SizeCase{"2G", 5, 2 * kGiB}, SizeCase{"+512M", kGiB, kGiB + 512 * kMiB},
                      SizeCase{"-10%", 1000, 900}, SizeCase{"150%", 1000, 1500},
                      SizeCase{"+12.5%", 1000, 1125}, SizeCase{"1.5K", 1, 1536}, SizeCase{"12345", 1, 12345},
                      SizeCase{"10s", 1, 5120}, SizeCase{"100b", 1, 100}, SizeCase{"2GiB", 1, 2 * kGiB},
                      SizeCase{"1P", 1, uint64_t{1} << 50}, SizeCase{"0.1G", 1, 107374182}));

TEST(SizeChange, WhatIsNone) {
    for (const char* text : {"", "G", "12Q", "-", "+", "--1G", "1 G", "0", "0%", "-0", "1e9",
                             "99999999999999999999", "9000000P", "1..5G", ".5G", "1.G", "0x10", "1Gb"}) {
        EXPECT_THROW(SizeChange::parse(text), Error) << text;
    }
    EXPECT_THROW(SizeChange::parse("-2G").apply(kGiB), Error);
    EXPECT_THROW(SizeChange::parse("-100%").apply(kGiB), Error);
    EXPECT_THROW(SizeChange::parse("9000000%").apply(uint64_t{1} << 62), Error);
}

}  // namespace
}  // namespace inspect
