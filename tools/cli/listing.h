// SPDX-License-Identifier: GPL-2.0-or-later
//
// The formats of 'insp ls': pure functions from an entry to a line.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <inspect/session.h>

#include "cli/json.h"

namespace inspect::cli {

enum class TimeFormat { kDate, kSeconds, kRelativeSeconds, kRelativeDays };

struct ListingOptions {
    bool csv = false;
    bool human = false;
    bool uids = false;
    bool times = false;
    bool extra_stats = false;
    TimeFormat time_format = TimeFormat::kDate;
    int64_t now_ns = 0;  // for the relative formats
};

// virt-ls -lR: "d 0755       4096 /bin", with a final newline. Fields in the order type, permissions, size,
// uid, gid, atime, mtime, ctime, device, inode, links, rdev, blocks, path, target of a symlink. In CSV exact,
// otherwise control characters in names are escaped, so that a name can't pass for another line.
std::string full_line(const ListingOptions& options, std::string_view path, const FileStat& stat);

// 'ls -l': for people. All entries of a directory at once, because columns are aligned.
std::string long_listing(const ListingOptions& options, const std::vector<DirectoryEntry>& entries);

// The members of an entry's JSON object; `stat` may be null.
void json_entry(JsonWriter& json, std::string_view path, uint32_t type_bits, const FileStat* stat);

}  // namespace inspect::cli
