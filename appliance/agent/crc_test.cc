// SPDX-License-Identifier: GPL-2.0-or-later
#include "crc.h"

#include <gtest/gtest.h>

namespace inspect::agent {
namespace {

// The usual check values.
TEST(Crc, OfNineDigits) {
    EXPECT_EQ(crc32("123456789", 9), 0xcbf43926u);
    EXPECT_EQ(~raw_crc<kCrc32c>(~0u, "123456789", 9), 0xe3069283u);
    EXPECT_EQ(raw_crc<kCrc32>(raw_crc<kCrc32>(7, "12345", 5), "6789", 4), raw_crc<kCrc32>(7, "123456789", 9));
}

}  // namespace
}  // namespace inspect::agent
