// SPDX-License-Identifier: GPL-2.0-or-later
//
// CRCs of 32 bits, reflected, as disks have them: GPT's, ext4's and F2FS'.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace inspect::agent {

inline constexpr uint32_t kCrc32 = 0xedb88320;   // zlib's polynomial
inline constexpr uint32_t kCrc32c = 0x82f63b78;  // Castagnoli's

// Goes on from `value`; without an inversion at the beginning or the end.
template <uint32_t kPolynomial>
uint32_t raw_crc(uint32_t value, const void* data, size_t size) {
    static constexpr std::array<uint32_t, 256> kTable = [] {
        std::array<uint32_t, 256> table{};
        for (uint32_t i = 0; i < 256; ++i) {
            uint32_t entry = i;
            for (int bit = 0; bit < 8; ++bit) entry = entry >> 1 ^ (entry & 1 ? kPolynomial : 0);
            table[i] = entry;
        }
        return table;
    }();
    for (const uint8_t byte : std::span(static_cast<const uint8_t*>(data), size))
        value = value >> 8 ^ kTable[(value ^ byte) & 0xff];
    return value;
}

// zlib's, as a GPT has it.
inline uint32_t crc32(const void* data, size_t size) { return ~raw_crc<kCrc32>(~0u, data, size); }

}  // namespace inspect::agent
