// SPDX-License-Identifier: LGPL-2.1-or-later
//
// One refcount in a refcount block, whose width is 1 << order bits (order 0 to 6).
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/endian.h"

namespace inspect {

// Entries narrower than a byte begin at its least significant bit.
inline uint64_t load_refcount(const std::byte* base, uint64_t index, uint32_t order) {
    switch (order) {
        case 0:
        case 1:
        case 2: {
            const uint32_t bits = 1u << order;
            const uint64_t bit = index << order;
            return (static_cast<uint8_t>(base[bit / 8]) >> (bit % 8)) & ((1u << bits) - 1);
        }
        case 3:
            return static_cast<uint8_t>(base[index]);
        case 4:
            return reinterpret_cast<const be16*>(base)[index];
        case 5:
            return reinterpret_cast<const be32*>(base)[index];
        default:
            return reinterpret_cast<const be64*>(base)[index];
    }
}

inline void store_refcount(std::byte* base, uint64_t index, uint32_t order, uint64_t value) {
    switch (order) {
        case 0:
        case 1:
        case 2: {
            const uint64_t bit = index << order;
            const uint32_t mask = ((1u << (1u << order)) - 1) << (bit % 8);
            const uint32_t old = static_cast<uint8_t>(base[bit / 8]);
            base[bit / 8] = static_cast<std::byte>((old & ~mask) | ((value << (bit % 8)) & mask));
            break;
        }
        case 3:
            base[index] = static_cast<std::byte>(value);
            break;
        case 4:
            reinterpret_cast<be16*>(base)[index] = static_cast<uint16_t>(value);
            break;
        case 5:
            reinterpret_cast<be32*>(base)[index] = static_cast<uint32_t>(value);
            break;
        default:
            reinterpret_cast<be64*>(base)[index] = value;
    }
}

}  // namespace inspect
