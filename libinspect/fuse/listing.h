// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Listings: entries of directories, as the agent sent them, asked for or in advance.
#pragma once

#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "fuse/node_stat.h"

namespace inspect::fuse {

// Entries that follow each other in a directory, from a certain one on.
struct Listing {
    struct Entry {
        std::string name;
        int64_t next;                  // the offset behind it
        std::optional<NodeStat> stat;  // missing: it couldn't be told
        bool no_xattrs = false;
    };

    int64_t begin = 0;  // the offset of the first entry
    std::vector<Entry> entries;
    bool at_end = false;   // nothing comes after them
    uint64_t changes = 0;  // TreeServer's count when they were asked for
    bool loading = true;
    bool walked = false;    // it has been read by the host, not only in advance
    bool expanded = false;  // the directories in it were noted, to be asked for in advance
    int error = 0;          // an errno: it could not be had
    std::vector<std::function<void()>> waiting;

    // Files that are read one after the other, in the order of the entries.
    size_t last_read = 0;     // the one behind the last that was read
    size_t fetched_to = 0;    // those before it were fetched in advance, or passed over
    unsigned fetch_size = 0;  // how many are fetched at once: more, the better it goes

    int64_t end() const { return entries.empty() ? begin : entries.back().next; }
};

// The first listing of each directory, as long as there is room. Not thread-safe.
class ListingCache {
  public:
    static constexpr size_t kMostEntries = 200'000;

    std::shared_ptr<Listing> find(uint64_t directory);
    void add(uint64_t directory, const std::shared_ptr<Listing>& listing);
    // It is complete, or has failed: who waits is told.
    void loaded(uint64_t directory, const std::shared_ptr<Listing>& listing);
    // The directories whose listing has been let go since the last call, once for each time it was added.
    std::vector<uint64_t> take_dropped() { return std::exchange(dropped_, {}); }

  private:
    struct Held {
        std::shared_ptr<Listing> listing;
        std::list<uint64_t>::iterator recent;
        size_t entries = 0;  // that are counted
    };
    void erase(uint64_t directory);

    std::unordered_map<uint64_t, Held> held_;
    std::list<uint64_t> recent_;  // the one used last at the front
    size_t entries_ = 0;
    std::vector<uint64_t> dropped_;
};

}  // namespace inspect::fuse
