// SPDX-License-Identifier: LGPL-2.1-or-later
//
// What the guest's file systems call free, asked of the appliance's kernel: it discards that on the session's
// disks, and their overlays, which are thrown away, have recorded where (docs/backup-format.md).
#pragma once

#include <cstdint>
#include <vector>

#include <inspect/session.h>
#include <inspect/sparsify.h>

namespace inspect {

struct FreeSpace {
    struct Range {
        uint64_t offset, length;  // bytes of the disk
    };
    struct Disk {
        std::vector<Range> ranges;  // ascending; blocks of 4 KiB
        // More than discards has reached the disk: a journal was replayed, for example. What is free on the
        // disk that results may be in use on the one that the image has, so `ranges` is empty.
        bool written = false;
    };
    std::vector<Disk> disks;  // as they were given
    std::vector<SparsifyResult> volumes;
};

// The images are only read, and locked meanwhile. `appliance` says how it runs; encrypted volumes stay
// locked. Throws Error as Session does.
FreeSpace ask_for_free_space(const std::vector<DiskSpec>& disks, const SessionOptions& appliance);

}  // namespace inspect
