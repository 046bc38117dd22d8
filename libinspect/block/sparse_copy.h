// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Making images sparse: finding zeros that an image has as data, and copying what a device holds to a new
// image that has nothing else.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "block/block_device.h"
#include "block/overlay_store.h"
#include "block/qcow2/header.h"

namespace inspect {

// Remembers in `store`, the changes to `image`, that units of `unit` bytes are zeros where they are, in the
// end, all zeros, though the image or the changes have a part of them as data. `unit` is a multiple of the
// store's block size: smaller ones would leave the image in pieces. Reads all data of the image; a commit can
// then give the space back. Calls `may_stop` now and then, which may throw.
void find_zeros(BlockDevice& image, OverlayStore& store, uint64_t unit,
                const std::function<void()>& may_stop);

struct SparseCopyOptions {
    std::string format = "raw";                        // or "qcow2"
    std::optional<Qcow2Compression> compression = {};  // of qcow2; none: not compressed
    uint32_t cluster_bits = 16;                        // of qcow2
};

// Makes the file `path`, which must not be there yet, an image of what is on `from`; zeros take no room in
// it. It gets its name when it is complete and on stable storage. `progress` is told now and then how many
// bytes of the disk are done, and may throw. Throws Error: kDenied when there is such a file, kNoSpace; then
// there is no new file.
void sparse_copy(BlockDevice& from, const std::string& path, const SparseCopyOptions& options,
                 const std::function<void(uint64_t done)>& progress);

}  // namespace inspect
