// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Compressed clusters: zlib's raw deflate, or zstd.
#pragma once

#include <cstddef>
#include <span>

#include "block/qcow2/header.h"

namespace inspect {

// Fills `out`, a cluster, from the start of `in`, which may have anything after its compressed data. Never
// makes more than out.size() bytes, whatever the data would grow to, and uses bounded memory. Throws
// Error(kCorrupt) when the data is damaged or too short. Thread-safe.
void decompress_cluster(Qcow2Compression kind, std::span<const std::byte> in, std::span<std::byte> out);

// Compresses `in` into `out`. Returns how many bytes it has become, 0 when it doesn't fit. Thread-safe.
size_t compress_cluster(Qcow2Compression kind, std::span<const std::byte> in, std::span<std::byte> out);

}  // namespace inspect
