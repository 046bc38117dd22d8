// SPDX-License-Identifier: LGPL-2.1-or-later
//
// A directory that the host has open for reading: the entries that the agent sent ahead.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "fuse/tree_server.h"

namespace inspect::fuse {

struct TreeServer::DirectoryStream {
    struct Entry {
        std::string name;
        int64_t next;                  // the offset behind it
        std::optional<NodeStat> stat;  // missing: it couldn't be told
        bool no_xattrs = false;
    };

    uint64_t node = 0;
    int64_t begin = 0;  // the offset of the first of `entries`
    std::vector<Entry> entries;
    size_t position = 0;   // how many of them were replied
    bool at_end = false;   // nothing comes after `entries`
    uint64_t changes = 0;  // TreeServer's count when they were asked for
    bool bad = false;      // the agent sent what can't be

    int64_t offset() const { return position == 0 ? begin : entries[position - 1].next; }
    void restart(int64_t offset) {
        begin = offset;
        entries.clear();
        position = 0;
        at_end = false;
    }
};

}  // namespace inspect::fuse
