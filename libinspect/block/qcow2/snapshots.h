// SPDX-License-Identifier: LGPL-2.1-or-later
//
// The internal snapshots of a qcow2 image: what there is.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "block/block_device.h"
#include "block/qcow2/header.h"

namespace inspect {

struct Qcow2Snapshot {
    std::string id;        // unique in its image; as it is there, any bytes
    std::string name;      // need not be
    uint64_t seconds = 0;  // when it was taken, since the Epoch
    uint32_t nanoseconds = 0;
    uint64_t vm_clock = 0;       // how long the guest had run, ns
    uint64_t vm_state_size = 0;  // bytes; 0: the guest was off
    uint64_t disk_size = 0;      // bytes
    uint64_t l1_offset = 0;      // checked: a table in the file, large enough for disk_size
    uint32_t l1_entries = 0;
};

// The image's snapshots in the table's order. `table_bytes`, if not null, is how long the table is. Throws
// Error(kCorrupt) for a table that makes no sense.
std::vector<Qcow2Snapshot> read_snapshots(BlockDevice& file, const Qcow2Header& header,
                                          uint64_t* table_bytes = nullptr);

// The one with this id; if there is none, the first with this name. Throws Error(kNotFound), which names
// those that there are.
const Qcow2Snapshot& find_snapshot(const std::vector<Qcow2Snapshot>& snapshots,
                                   const std::string& id_or_name);

}  // namespace inspect
