// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Whether memory is all zeros: quick where it isn't, and about as fast as memory can be read where it is.
#pragma once

#include <cstddef>
#include <cstring>
#include <span>

namespace inspect {

inline bool is_all_zeros(std::span<const std::byte> bytes) {
    if (bytes.empty()) return true;
    // Each byte is compared with the one before it.
    return bytes[0] == std::byte{0} && std::memcmp(bytes.data(), bytes.data() + 1, bytes.size() - 1) == 0;
}

}  // namespace inspect
