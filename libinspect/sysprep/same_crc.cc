// SPDX-License-Identifier: LGPL-2.1-or-later
//
// A reflected CRC takes in four bytes by adding them (XOR) to its register and then turning the register over
// in a way that has an inverse. So two UUIDs have the same CRC exactly if their last four bytes differ as the
// registers after the first twelve do.
#include "sysprep/same_crc.h"

#include <array>
#include <cstdio>
#include <optional>

namespace inspect {

namespace {

constexpr size_t kFirst = 12;
constexpr size_t kTextLength = 36;

std::optional<std::array<uint8_t, 16>> bytes_of(const std::string& text) {
    if (text.size() != kTextLength) return std::nullopt;
    std::array<uint8_t, 16> bytes{};
    size_t digits = 0;
    for (const char c : text) {
        if (c == '-') continue;
        const int digit = c >= '0' && c <= '9'   ? c - '0'
                          : c >= 'a' && c <= 'f' ? c - 'a' + 10
                          : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                                 : -1;
        if (digit < 0 || digits == 2 * bytes.size()) return std::nullopt;
        bytes[digits / 2] = static_cast<uint8_t>(bytes[digits / 2] << 4 | digit);
        ++digits;
    }
    if (digits != 2 * bytes.size()) return std::nullopt;
    return bytes;
}

uint32_t register_after_first(const std::array<uint8_t, 16>& bytes, uint32_t polynomial) {
    uint32_t value = ~0u;
    for (size_t i = 0; i < kFirst; ++i) {
        value ^= bytes[i];
        for (int bit = 0; bit < 8; ++bit) value = value >> 1 ^ (value & 1 ? polynomial : 0);
    }
    return value;
}

}  // namespace

std::string uuid_of_same_crc(const std::string& old_id, const std::string& random, uint32_t polynomial) {
    const auto before = bytes_of(old_id), after = bytes_of(random);
    if (!before || !after) return random;
    const uint32_t difference =
        register_after_first(*before, polynomial) ^ register_after_first(*after, polynomial);
    char last[9];
    for (size_t i = 0; i < 4; ++i)
        std::snprintf(last + 2 * i, 3, "%02x",
                      static_cast<unsigned>((*before)[kFirst + i] ^ (difference >> (8 * i) & 0xff)));
    return random.substr(0, kTextLength - 8) + last;
}

}  // namespace inspect
