// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Copying what an image holds: a file's bytes, or a disk's.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "block/block_device.h"

namespace inspect {

// Told how many bytes more are done, every few MiB; may throw to end the copy.
using CopyProgress = std::function<void(uint64_t bytes)>;

// Lets the file `to`, which is empty, have what `from` has, their blocks shared (FICLONE). False where the
// file system can't; then nothing has changed. Throws Error, which names `name`, when there is no room.
bool share_file_blocks(int from, int to, const std::string& name);

// Copies the first `size` bytes of the file `from` to the file `to`, which is empty and called `name` in
// messages. Holes stay holes. Throws Error.
void copy_file_bytes(int from, int to, uint64_t size, const std::string& name, const CopyProgress& progress);

// Copies the disk `from` to `to`, which is as large or larger and reads as zeros. Zeros are not written.
// Throws what the devices do.
void copy_disk(BlockDevice& from, BlockDevice& to, const CopyProgress& progress);

// Bytes of a disk that are allocated and not known to be zeros.
uint64_t disk_data_size(BlockDevice& device);

}  // namespace inspect
