// SPDX-License-Identifier: GPL-2.0-or-later
//
// Fields of structures that were read from a disk: load<le32>(superblock, 0x5c). The caller makes sure that
// the field lies within.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include "base/endian.h"

namespace inspect::agent {

template <typename T>
T load(std::span<const uint8_t> from, size_t at) {
    T value;
    std::memcpy(&value, from.data() + at, sizeof value);
    return value;
}

template <typename T>
void store(std::span<uint8_t> to, size_t at, T value) {
    std::memcpy(to.data() + at, &value, sizeof value);
}

}  // namespace inspect::agent
