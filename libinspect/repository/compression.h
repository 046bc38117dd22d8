// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Zstandard for blobs and for the repository's own files.
#pragma once

#include <cstddef>
#include <span>

#include "repository/object_id.h"

namespace inspect::repository {

// A blob or a file of the repository that claims to be larger than this is taken for damaged. (restic cuts
// files into chunks of 8 MiB at most; directories and indexes may be larger.)
inline constexpr size_t kMaxObjectSize = 1U << 30;

// Thread-safe; a thread keeps its context for the next call.
// Empty when the result wouldn't be smaller than the input. `level` is zstd's; what seems to have no
// repetitions is compressed by the first, whatever it says up to 3.
Bytes compress(std::span<const std::byte> plain, int level);
// `size` is what it must become. Throws Error(kCorrupt).
Bytes decompress(std::span<const std::byte> compressed, size_t size);
// For what doesn't say how large it becomes: up to kMaxObjectSize.
Bytes decompress_unknown_size(std::span<const std::byte> compressed);

}  // namespace inspect::repository
