// SPDX-License-Identifier: GPL-2.0-or-later
//
// The identifiers in a partition table: reading the disk's own, and giving the disk and its partitions
// others. Nothing else of the table changes.
#pragma once

#include <cstdint>
#include <map>
#include <string>

namespace inspect::agent {

struct TableIds {
    std::string disk;                            // a GUID; of an MBR "0x1234abcd"; empty: it stays
    std::map<uint32_t, std::string> partitions;  // GPT: by number, GUIDs
};

// Of a GPT both copies are written, one that is damaged is left alone. Throws Failure: there is no such
// table, no such partition.
void set_table_ids(int fd, uint64_t disk_size, uint32_t sector_size, const TableIds& ids);

}  // namespace inspect::agent
