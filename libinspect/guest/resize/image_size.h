// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <algorithm>
#include <cstdint>

#include <inspect/resize.h>

#include "base/checked.h"

namespace inspect {

// What a wish makes of an image's size: whole sectors, not more than was wished when it becomes smaller by
// that, else not less. Throws Error(kUsage).
inline uint64_t wished_image_size(uint64_t size, uint32_t sector_size, const SizeChange& wish) {
    const uint64_t unit = std::max<uint64_t>(sector_size, 512);
    const uint64_t wished = wish.apply(size);
    return wish.negative ? align_down(wished, unit) : align_up(wished, unit);
}

}  // namespace inspect
