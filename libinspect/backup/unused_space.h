// SPDX-License-Identifier: LGPL-2.1-or-later
//
// What of a guest's disks nobody needs: blocks that its file systems call free, and the contents of swap
// spaces.
#pragma once

#include <string>
#include <vector>

#include <inspect/disk.h>
#include <inspect/session.h>
#include <inspect/sparsify.h>

#include "base/range_set.h"
#include "block/block_device.h"

namespace inspect {

struct UnusedSpace {
    RangeSet ranges;          // of the disk
    uint64_t free_bytes = 0;  // of them, in file systems
    uint64_t swap_bytes = 0;
    RangeSet unknown;  // partitions with something that isn't understood here: an appliance may know more
};

// One a disk. What can't be told is taken to be used, with a warning where that is a surprise. `devices` are
// the disks, open for reading.
std::vector<UnusedSpace> unused_space(const std::vector<DiskSpec>& disks,
                                      const std::vector<BlockDevice*>& devices,
                                      std::vector<std::string>& warnings);

// How much data of the images lies in what is unknown, bytes: whether it is worth asking.
uint64_t unknown_data(const std::vector<UnusedSpace>& unused, const std::vector<BlockDevice*>& devices);

// Asks an appliance, which runs as `how` says, about what is unknown, and adds what it says is free. What it
// was told of each volume; empty when it couldn't be asked, with a warning.
std::vector<SparsifyResult> ask_appliance(const std::vector<DiskSpec>& disks, const SessionOptions& how,
                                          std::vector<UnusedSpace>& unused,
                                          std::vector<std::string>& warnings);

}  // namespace inspect
