// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Where a disk's partitions are: just that, for knowing where to look for free space. What the partitions are
// for, and everything that a user is told, is the appliance's to find out.
#pragma once

#include <cstdint>
#include <vector>

#include "block/block_device.h"

namespace inspect {

struct PartitionRange {
    uint64_t offset = 0, length = 0;  // bytes, within the disk
};

// GPT, or MBR with logical partitions; without either the whole disk. Empty when a table contradicts itself
// (partitions that overlap or lie outside of the disk): then nothing on the disk is to be believed.
std::vector<PartitionRange> find_partitions(BlockDevice& disk, uint32_t sector_size);

}  // namespace inspect
