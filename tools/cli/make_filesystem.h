// SPDX-License-Identifier: GPL-2.0-or-later
//
// New file systems and partition tables, by the field's own tools in the appliance.
#pragma once

#include <string>
#include <vector>

#include "cli/guest.h"

namespace inspect::cli {

struct FilesystemMaker {
    const char* type;  // "ext4"
    // For the appliance's shell: $1 is the device, $2 the label, $3 the number of files to come or empty.
    const char* command;
    const char* mbr_type;  // as sfdisk spells it: "83"
    const char* gpt_type;
    uint64_t smallest;  // bytes, of a file system that the tool makes
    bool keeps_owners;  // and modes, links and attributes
};

// Throws UsageError, with the list of those that there are.
const FilesystemMaker& filesystem_maker(const std::string& type);

// Makes a file system; what was there is hidden. Throws Error. `label` may be empty.
void make_filesystem(Guest& guest, const FilesystemMaker& maker, const std::string& device,
                     const std::string& label, const std::string& files = {});

enum class NewTable { kNone, kMbr, kGpt };
// "mbr", "gpt", "none", "dos", "efi", "msdos". Throws UsageError, which names the option.
NewTable new_table(const std::string& option, const std::string& text);
// For a disk of this size, as virt-format chooses: MBR below 2 TiB.
NewTable default_table(uint64_t disk_size);

// Takes away what tells a table or a file system on the disk, in its partitions too; makes the table, with
// one partition of all the room. `maker` null: for LVM where `lvm`, else of no particular kind. Returns the
// device to make a file system on.
std::string make_table(Guest& guest, const std::string& disk, NewTable table, const FilesystemMaker* maker,
                       bool lvm);

}  // namespace inspect::cli
