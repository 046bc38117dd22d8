// SPDX-License-Identifier: GPL-2.0-or-later
//
// Giving partitions other ends.
//
// Nothing but what has to change does: numbers, starts, types, identifiers, names, attributes, the disk's own
// identifier and the boot code stay, byte for byte. (Tools that write a table anew from a description of it
// lose what the description doesn't have.)
#pragma once

#include <cstdint>
#include <map>
#include <vector>

namespace inspect::agent {

struct PartitionEdit {
    uint64_t disk_size = 0;              // bytes; a GPT's backup goes to this end
    std::map<uint32_t, uint64_t> sizes;  // by number, bytes; an extended partition's too
    std::vector<uint32_t> removed;       // numbers; no logical ones
};

// Writes the table of a device that is `device_size` bytes long now, and syncs it. Throws Failure, before
// anything is written: there is no table that can be changed, a partition that isn't there, sizes that don't
// fit or overlap.
void edit_partition_table(int fd, uint64_t device_size, uint32_t sector_size, const PartitionEdit& edit);

}  // namespace inspect::agent
