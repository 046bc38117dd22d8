// SPDX-License-Identifier: GPL-2.0-or-later
//
// What differs between two guests' trees: for 'insp diff' and 'insp backup diff'.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include <inspect/session.h>

#include "cli/context.h"
#include "cli/listing.h"

namespace inspect::cli {

struct TreeDiffOptions {
    bool times = false;  // modification and change times count
    ListingOptions format;
};

// What is not the same, by its names: "mode", "uid", "gid", "size", "mtime", "ctime", "target", "device". The
// size of a directory says nothing and doesn't count, nor do its times.
std::vector<std::string> changed_fields(const FileStat& before, const FileStat& after, bool times);

struct TreeChange {
    char kind;                     // '-': removed, '+': added, '=': changed
    const DirectoryEntry* before;  // null: added
    const DirectoryEntry* after;   // null: removed
    std::vector<std::string> fields;
};
// Calls `on_change` for every difference of two listings, in the order of their paths. Both lists are sorted
// by it.
void compare_trees(std::vector<DirectoryEntry>& before, std::vector<DirectoryEntry>& after, bool times,
                   const std::function<void(const TreeChange&)>& on_change);

// The whole command: lists the guests on these disks, one after the other, and prints what differs as
// virt-diff does, or as JSON. Returns the exit code.
int diff_guests(Context& context, const std::vector<DiskSpec>& before, const std::vector<DiskSpec>& after,
                const TreeDiffOptions& options);

}  // namespace inspect::cli
