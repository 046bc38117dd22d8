// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Integers of a fixed byte order, for structures that live on disk, on the wire or in guest memory.
// They have alignment 1, so a packed format is a plain struct. (The idea is mold's.)
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>

namespace inspect {

template <typename T, std::endian kOrder>
class EndianInt {
  public:
    EndianInt() = default;
    EndianInt(T value) { *this = value; }  // NOLINT: an integer by intent
    operator T() const {
        T value;
        std::memcpy(&value, bytes_, sizeof value);
        return fix(value);
    }
    EndianInt& operator=(T value) {
        value = fix(value);
        std::memcpy(bytes_, &value, sizeof value);
        return *this;
    }

  private:
    static T fix(T value) {
        if constexpr (std::endian::native == kOrder || sizeof(T) == 1) return value;
        if constexpr (sizeof(T) == 2) return static_cast<T>(__builtin_bswap16(value));
        if constexpr (sizeof(T) == 4) return static_cast<T>(__builtin_bswap32(value));
        if constexpr (sizeof(T) == 8) return static_cast<T>(__builtin_bswap64(value));
    }
    unsigned char bytes_[sizeof(T)];
};

using le16 = EndianInt<uint16_t, std::endian::little>;
using le32 = EndianInt<uint32_t, std::endian::little>;
using le64 = EndianInt<uint64_t, std::endian::little>;
using be16 = EndianInt<uint16_t, std::endian::big>;
using be32 = EndianInt<uint32_t, std::endian::big>;
using be64 = EndianInt<uint64_t, std::endian::big>;

}  // namespace inspect
