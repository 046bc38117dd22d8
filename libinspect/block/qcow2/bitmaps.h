// SPDX-License-Identifier: LGPL-2.1-or-later
//
// The persistent bitmaps of a qcow2 image: which parts of the disk were written since some point in time.
// They are read here; a writer that doesn't keep them up to date marks them as not to be believed.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "block/block_device.h"
#include "block/qcow2/header.h"

namespace inspect {

struct Qcow2Bitmap {
    std::string name;          // unique in its image; as it is there, any bytes
    uint64_t granularity = 0;  // bytes of the disk that a bit is about
    bool in_use = false;       // was not saved properly, or the disk was changed without it
    bool enabled = false;      // is to follow all changes ("auto")
    bool usable = false;       // what it says holds: consistent, of a known kind, not in_use
    uint64_t table_offset = 0;
    uint32_t table_entries = 0;
    uint64_t directory_offset = 0;  // of its entry
};

// The image's bitmaps in the directory's order; none are usable when the image says that it was written by a
// program that doesn't know of bitmaps. Throws Error(kCorrupt) for a directory that makes no sense.
std::vector<Qcow2Bitmap> read_bitmaps(BlockDevice& file, const Qcow2Header& header);

// Calls `visit` for the ranges of the disk that are dirty, ascending, apart, within its size. Throws
// Error(kUsage) for a bitmap that isn't usable, Error(kCorrupt) when its data can't be right.
void for_each_dirty_range(BlockDevice& file, const Qcow2Header& header, const Qcow2Bitmap& bitmap,
                          const std::function<void(uint64_t offset, uint64_t length)>& visit);

// Marks bitmaps as in use, on disk: those that follow changes, or all of them. Does not flush. False when
// there was none to mark.
bool mark_bitmaps_in_use(BlockDevice& file, const Qcow2Header& header, bool all);

}  // namespace inspect
