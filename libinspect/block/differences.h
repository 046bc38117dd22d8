// SPDX-License-Identifier: LGPL-2.1-or-later
//
// What really differs of what was rewritten: a guest's kernel writes back much that has not changed.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

namespace inspect {

// Compares two pieces of the same size block by block, and calls `visit(offset, length)` for each run of
// blocks that differ, in order; bytes from the pieces' start. The last block may be a part of one.
template <typename Visit>
void for_each_difference(std::span<const std::byte> now, std::span<const std::byte> before,
                         uint64_t block_size, Visit visit) {
    auto same = [&](uint64_t at) {
        const size_t n = std::min<uint64_t>(block_size, now.size() - at);
        return std::memcmp(now.data() + at, before.data() + at, n) == 0;
    };
    for (uint64_t at = 0; at < now.size();) {
        uint64_t end = at + block_size;
        if (!same(at)) {
            while (end < now.size() && !same(end)) end += block_size;
            end = std::min<uint64_t>(end, now.size());
            visit(at, end - at);
        }
        at = end;
    }
}

}  // namespace inspect
