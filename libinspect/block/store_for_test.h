// SPDX-License-Identifier: LGPL-2.1-or-later
//
// For tests: an OverlayStore with nothing in it.
#pragma once

#include <memory>

#include "block/overlay.h"

namespace inspect {

inline std::shared_ptr<OverlayStore> make_store(uint64_t size, uint64_t memory_limit = 1 << 20) {
    return std::make_shared<OverlayStore>(OverlayStore::create(size, {memory_limit, {}}));
}

}  // namespace inspect
