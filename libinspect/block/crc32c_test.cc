// SPDX-License-Identifier: LGPL-2.1-or-later
#include "block/crc32c.h"

#include <gtest/gtest.h>

#include "base/temp_dir_for_test.h"

namespace inspect {
namespace {

uint32_t of(std::string_view text) { return crc32c(std::as_bytes(std::span(text))); }

TEST(Crc32c, MatchesThePublishedVectors) {  // RFC 3720, appendix B.4, and the usual check value
    EXPECT_EQ(of(""), 0u);
    EXPECT_EQ(of("123456789"), 0xe3069283u);
    EXPECT_EQ(crc32c(Bytes(32, std::byte{0})), 0x8a9136aau);
    EXPECT_EQ(crc32c(Bytes(32, std::byte{0xff})), 0x62a8ab43u);
}

TEST(Crc32c, BothWaysAndAllSplitsAgree) {
    std::mt19937_64 random(1);
    const Bytes data = random_bytes(random, 1000);
    for (size_t length = 0; length < 70; ++length) {
        const std::span<const std::byte> bytes(data.data() + length % 9, length);
        EXPECT_EQ(crc32c(bytes), crc32c_portable(bytes));
    }
    for (size_t split = 0; split <= data.size(); split += 7) {
        const std::span<const std::byte> all(data);
        EXPECT_EQ(crc32c(all.subspan(split), crc32c(all.first(split))), crc32c_portable(all));
    }
}

}  // namespace
}  // namespace inspect
