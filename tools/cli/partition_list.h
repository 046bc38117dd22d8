// SPDX-License-Identifier: GPL-2.0-or-later
//
// The disks' partition tables as libfdisk sees them, by sfdisk in the appliance.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "cli/guest.h"
#include "cli/json.h"

namespace inspect::cli {

struct ListedPartition {
    std::string device;  // "/dev/sda1"
    uint32_t number = 0;
    uint64_t start = 0;  // bytes
    uint64_t size = 0;
    std::string type;  // GPT: a GUID; MBR: "0x83"
    std::string uuid;
    std::string name;        // bytes
    std::string attributes;  // as sfdisk names them
    bool bootable = false;   // MBR's active flag
};

struct ListedDisk {
    std::string device;
    uint64_t size = 0;
    uint32_t sector_size = 512;
    std::string table;       // "gpt", "dos", or empty: none
    std::string identifier;  // of the table
    // GPT whose MBR has partitions of its own: systems that read the one and systems that read the other see
    // different disks.
    bool hybrid = false;
    std::vector<std::string> warnings;  // what is wrong with the table
    std::vector<ListedPartition> partitions;
};

// All disks of the session, which must have nothing mounted. Throws Error.
std::vector<ListedDisk> list_partitions(Guest& guest);

// sfdisk's JSON for the disk, and the first sector in hexadecimal, put into `disk`. Throws Error(kEngine) for
// what is neither.
void parse_partition_table(const std::string& json, ListedDisk& disk);
bool is_hybrid(const std::string& first_sector_hex);

void write_disks(JsonWriter& json, const std::vector<ListedDisk>& disks);

}  // namespace inspect::cli
