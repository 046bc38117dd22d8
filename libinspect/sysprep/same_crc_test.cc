// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Judged by CRCs of other people: zlib's and the block layer's, by the CPU's instruction.
#include "sysprep/same_crc.h"

#include <gtest/gtest.h>
#include <zlib.h>

#include <array>
#include <string>

#include "base/uuid.h"
#include "block/crc32c.h"

namespace inspect {
namespace {

std::array<std::byte, 16> bytes_of(std::string text) {
    std::erase(text, '-');
    std::array<std::byte, 16> bytes;
    for (size_t i = 0; i < bytes.size(); ++i)
        bytes[i] = static_cast<std::byte>(std::stoul(text.substr(2 * i, 2), nullptr, 16));
    return bytes;
}

uint32_t by_zlib(const std::string& id) {
    const auto bytes = bytes_of(id);
    return static_cast<uint32_t>(
        crc32(0, reinterpret_cast<const unsigned char*>(bytes.data()), static_cast<unsigned>(bytes.size())));
}

TEST(SameCrc, IsTheSame) {
    for (int i = 0; i < 100; ++i) {
        const std::string before = random_uuid(), random = random_uuid();
        const std::string ext = uuid_of_same_crc(before, random, kCrc32c);
        EXPECT_EQ(crc32c(bytes_of(ext)), crc32c(bytes_of(before)));
        EXPECT_NE(ext, before);
        EXPECT_EQ(ext.substr(0, 28), random.substr(0, 28));
        EXPECT_EQ(ext.size(), 36U);
        EXPECT_EQ(by_zlib(uuid_of_same_crc(before, random, kCrc32)), by_zlib(before));
    }
}

TEST(SameCrc, WhatIsNoUuidHasNone) {
    const std::string random = random_uuid();
    EXPECT_EQ(uuid_of_same_crc("AB12-34CD", random, kCrc32c), random);
    EXPECT_EQ(uuid_of_same_crc(std::string(36, 'x'), random, kCrc32c), random);
}

}  // namespace
}  // namespace inspect
