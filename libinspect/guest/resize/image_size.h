// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <algorithm>
#include <cstdint>

#include <inspect/resize.h>

namespace inspect {

// What a wish makes of an image's size: a multiple of `unit` bytes, not more than was wished when it becomes
// smaller by that, else not less. Throws Error(kUsage).
inline uint64_t wished_image_size(uint64_t size, uint64_t unit, const SizeChange& wish) {
    const uint64_t wished = wish.apply(size), whole = wished / unit * unit;
    return wish.negative || whole == wished ? whole : whole + unit;
}

}  // namespace inspect
