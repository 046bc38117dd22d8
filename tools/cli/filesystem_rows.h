// SPDX-License-Identifier: GPL-2.0-or-later
//
// What the disks hold, as rows and as JSON: which of their parts are shown, and as what. Pure functions.
#pragma once

#include <string>
#include <vector>

#include <inspect/session.h>

#include "cli/json.h"

namespace inspect::cli {

struct RowSelection {
    bool filesystems = true;  // mountable ones
    bool extra = false;       // and the others: swap, unknown
    bool partitions = false;
    bool block_devices = false;
    bool logical_volumes = false;
    bool volume_groups = false;
    bool physical_volumes = false;
};

// An item of virt-filesystems' output: a device may be in several, as a partition and as a file system.
struct FilesystemRow {
    std::string name;
    std::string type;  // "filesystem", "partition", "device", "lv", "vg" or "pv"
    std::string vfs;   // these are empty where there is nothing to say
    std::string label;
    std::string mbr;  // an MBR partition's type, two hexadecimal digits
    uint64_t size_bytes = 0;
    std::string parent;
    std::string uuid;
};

std::vector<FilesystemRow> filesystem_rows(const FilesystemReport& report, const RowSelection& selection);

// "/dev/sda12" gives "/dev/sda", "/dev/nvme0n1p2" gives "/dev/nvme0n1".
std::string parent_device(const FilesystemReport& report, const std::string& partition);

// The report as members "disks", "filesystems" and "warnings" of the object that is open.
void write_report(JsonWriter& json, const FilesystemReport& report);

struct RowFormat {
    bool long_format = false;
    bool human = false;
    bool csv = false;
    bool uuid = false;
    bool title = true;
    bool mbr = false;  // with the column of partition types
};
std::string format_rows(const std::vector<FilesystemRow>& rows, const RowFormat& format);

}  // namespace inspect::cli
