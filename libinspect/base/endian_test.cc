// SPDX-License-Identifier: LGPL-2.1-or-later
#include "base/endian.h"

#include <gtest/gtest.h>

#include <cstring>

namespace inspect {
namespace {

TEST(Endian, LiesInMemoryAsItsNameSays) {
    struct Packed {
        be32 big;
        le16 little;
        be64 wide;
    } p{0x01020304u, static_cast<uint16_t>(0x0506), 0x0708090a0b0c0d0eull};
    static_assert(sizeof(Packed) == 14 && alignof(Packed) == 1);
    EXPECT_EQ(0, std::memcmp(&p, "\x01\x02\x03\x04\x06\x05\x07\x08\x09\x0a\x0b\x0c\x0d\x0e", sizeof p));
    EXPECT_EQ(p.big, 0x01020304u);
    EXPECT_EQ(p.wide, 0x0708090a0b0c0d0eull);
}

}  // namespace
}  // namespace inspect
