// SPDX-License-Identifier: LGPL-2.1-or-later
//
// What an ext2, ext3 or ext4 file system calls free.
//
// This is the one place where the host looks into a guest's file system. It reads three flat tables (the
// superblock, the group descriptors and the block bitmaps), follows no pointer but theirs, each within
// bounds, and takes all that it doesn't fully understand for used. docs/backup-format.md says why this isn't
// done in the appliance.
#pragma once

#include <cstdint>
#include <optional>

#include "base/range_set.h"
#include "block/block_device.h"

namespace inspect {

enum class ExtResult {
    kNone,     // there is no such file system
    kUnknown,  // there is one, with features that aren't understood, or tables that make no sense
    kDirty,    // its journal is to be replayed: the tables don't say the truth yet
    kRead,
};

// Adds the free blocks of the file system in [offset, offset + length) of the disk to `free`.
ExtResult find_ext_free_space(BlockDevice& disk, uint64_t offset, uint64_t length, RangeSet& free);

}  // namespace inspect
