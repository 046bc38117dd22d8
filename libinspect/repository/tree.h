// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Trees: the directories of a snapshot. (restic's design document, "Trees and Data".)
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "repository/object_id.h"
#include "repository/timestamp.h"

namespace inspect::repository {

struct TreeNode {
    std::string name;      // bytes, without '/'
    std::string type;      // "file", "dir", "symlink"...
    uint64_t mode = 0600;  // permissions, as chmod(2) has them
    Timestamp modified = {};
    uint64_t size = 0;                   // of a file, bytes
    std::vector<ObjectId> content = {};  // of a file: the data blobs that it consists of, in order
    std::optional<ObjectId> subtree = {};

    bool is_file() const { return type == "file"; }
    bool is_directory() const { return type == "dir"; }
};

using Tree = std::vector<TreeNode>;

// Throws Error(kCorrupt); also for a name that is empty, "." or "..", or has a '/' in it.
Tree parse_tree(std::string_view text);
// Nodes are sorted by name, as restic wants them. Only files and directories can be written.
std::string format_tree(Tree nodes);

}  // namespace inspect::repository
