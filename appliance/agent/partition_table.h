// SPDX-License-Identifier: GPL-2.0-or-later
//
// Reading partition tables: MBR with logical partitions, GPT, for 512 and 4096-byte sectors.
//
// The kernel reads them too, when a disk is bound, but says little: neither types, names and UUIDs nor what
// is wrong with a table. Partition numbers here are the kernel's. Sources: UEFI 2.10 section 5 (GPT); the de
// facto MBR layout (446: four entries of 16 bytes, 510: 55 AA), EBR chains as every system has followed them
// since DOS 3.3.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace inspect::agent {

struct Partition {
    uint32_t number;
    uint64_t start;          // bytes
    uint64_t size;           // bytes, cut at the disk's end
    std::string type;        // GPT: a GUID, lower case; MBR: "0x83"
    std::string uuid;        // PARTUUID, lower case
    std::string label;       // GPT: UTF-8
    bool container = false;  // an extended partition: it holds logical ones, nothing else
    bool logical = false;
    uint64_t record = 0;      // logical: where the sector that describes it is, bytes
    uint64_t attributes = 0;  // GPT; MBR: 1 for the active one
};

struct PartitionTable {
    std::string type;  // "gpt", "dos", or empty: none
    std::string id;    // the disk's own: a GUID, lower case; MBR: "0x1234abcd"
    std::vector<Partition> partitions;
    // Not empty: why it must not be changed, and what to do. A phrase whose subject is the table; complete
    // where it was read thoroughly.
    std::string obstacle = {};
    uint64_t reserved_at_end = 0;       // bytes that no partition may have
    std::vector<std::string> warnings;  // phrases without the disk's name: "partition 3 ends past the end..."
};

// `thorough`: the GPT's backup is compared too. Throws Failure when the disk can't be read. A table that
// contradicts itself is no failure: what is usable of it is returned, with warnings.
PartitionTable read_partition_table(int fd, uint64_t disk_size, uint32_t sector_size, bool thorough);

}  // namespace inspect::agent
