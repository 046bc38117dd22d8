// SPDX-License-Identifier: GPL-2.0-or-later
//
// New file systems and partition tables, by the field's own tools in the appliance.
#pragma once

#include <string>
#include <vector>

#include "cli/guest.h"

namespace inspect::cli {

// Of what a file system's label is, and in what its length is counted.
enum class LabelUnit {
    kBytes,  // any
    kAscii,  // what is on other keyboards the tool converts only in a locale that the appliance hasn't got
    kUtf16,
};

struct FilesystemMaker {
    const char* type;  // "ext4"
    // For the appliance's shell: $1 is the device, $2 the label, $3 the number of files to come or empty.
    const char* command;
    const char* mbr_type;  // as sfdisk spells it: "83"
    const char* gpt_type;
    uint64_t smallest;  // bytes, of a file system that the tool makes
    bool keeps_owners;  // and modes, links and attributes
    size_t most_label;
    LabelUnit label_unit;
    const char* not_in_label;  // characters
};

// Throws UsageError, with the list of those that there are.
const FilesystemMaker& filesystem_maker(const std::string& type);

// Throws UsageError when the file system can't have it. Some of the tools would cut it off, others fail.
void require_label(const FilesystemMaker& maker, const std::string& label);

// How many inodes to ask an ext file system for, that is to hold `entries` files and directories and has
// `extra` bytes of room besides, in an image of `size` bytes that the user asked for (0: it is as large as
// need be). 0: as many as it has by itself.
uint64_t ext_inodes(uint64_t entries, uint64_t extra, uint64_t size);

struct NewFilesystem {
    const FilesystemMaker& maker;
    std::string device;
    uint64_t size;           // of the device, about
    std::string label = {};  // may be empty
    uint64_t inodes = 0;     // of ext; 0: as many as it has by itself
    bool bare_disks = true;  // see RunOptions
};
// What was there is hidden. Throws Error: kNoSpace when the device is too small for any of this type.
void make_filesystem(Guest& guest, const NewFilesystem& wanted);

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
