// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Snapshots: what was backed up when, from where, and the tree that has it. (restic's design document,
// "Snapshots".)
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "repository/object_id.h"
#include "repository/timestamp.h"

namespace inspect::repository {

struct Snapshot {
    ObjectId id;  // of its file; not in it
    Timestamp time;
    std::optional<ObjectId> parent;
    ObjectId tree;
    std::vector<std::string> paths;
    std::string hostname;
    std::string username;
    std::vector<std::string> tags;
    std::string program_version;

    bool has_tag(std::string_view tag) const;
};

// Throws Error(kCorrupt).
Snapshot parse_snapshot(std::string_view text);
std::string format_snapshot(const Snapshot& snapshot);

}  // namespace inspect::repository
