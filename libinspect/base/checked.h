// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Arithmetic on numbers that a guest or an image chose: every operation says whether it overflowed.
#pragma once

#include <concepts>
#include <cstdint>
#include <optional>

namespace inspect {

template <std::unsigned_integral T>
constexpr std::optional<T> checked_add(T a, T b) {
    T r;
    if (__builtin_add_overflow(a, b, &r)) return std::nullopt;
    return r;
}

template <std::unsigned_integral T>
constexpr std::optional<T> checked_mul(T a, T b) {
    T r;
    if (__builtin_mul_overflow(a, b, &r)) return std::nullopt;
    return r;
}

// True when [offset, offset + length) lies within [0, size). Never overflows.
constexpr bool range_fits(uint64_t offset, uint64_t length, uint64_t size) {
    return offset <= size && length <= size - offset;
}

// `align` is a power of two. align_up's result is undefined when it would overflow: check first.
constexpr uint64_t align_down(uint64_t value, uint64_t align) { return value & ~(align - 1); }
constexpr uint64_t align_up(uint64_t value, uint64_t align) { return align_down(value + align - 1, align); }

}  // namespace inspect
