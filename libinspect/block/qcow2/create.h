// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Making new, empty qcow2 images.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "block/block_device.h"
#include "block/qcow2/header.h"

namespace inspect {

struct Qcow2CreateOptions {
    uint64_t size = 0;  // of the disk, bytes; a multiple of 512, not 0
    uint32_t version = 3;
    uint32_t cluster_bits = 16;                    // 9 to 21; with extended L2 entries from 14
    uint32_t refcount_bits = 16;                   // 1, 2, 4, ... 64; version 2: 16
    std::optional<std::string> backing_name = {};  // as it is to stand in the image
    std::optional<std::string> backing_format =
        {};  // "raw", "qcow2"...; give it: formats are not to be guessed
    // The others need version 3.
    Qcow2Compression compression = Qcow2Compression::kZlib;
    bool extended_l2 = false;
    bool lazy_refcounts = false;  // says that QEMU may delay refcounts; this driver never does
    std::optional<std::string> data_file_name = {};
    bool raw_data_file = false;  // the data file is always to be a raw image as well; not with a backing file
};

// Makes `file` the image, whatever it was before, and flushes it. The file is made as long as it need be. To
// have its clusters preallocated open it and call Qcow2Device::preallocate(); the caller makes the data file
// itself, with the disk's size. Throws Error(kUsage) for options that don't go together.
void create_qcow2(BlockDevice& file, const Qcow2CreateOptions& options);

}  // namespace inspect
