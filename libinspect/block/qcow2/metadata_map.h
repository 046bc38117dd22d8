// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Which clusters of an image file hold metadata. Refcounts and L2 entries that are wrong must not lead to
// data being written over a table; so everything that is allocated or overwritten in place is looked up here.
#pragma once

#include <algorithm>
#include <cstdint>
#include <unordered_map>
#include <vector>

namespace inspect {

// Clusters are named by their index in the file. Not thread-safe.
class MetadataMap {
  public:
    // To fill it: add_initial() of everything, then seal(), which tells whether a cluster was added twice.
    void add_initial(uint64_t first, uint64_t count) {
        for (uint64_t i = 0; i < count; ++i) initial_.push_back(first + i);
    }
    bool seal() {
        std::sort(initial_.begin(), initial_.end());
        return std::adjacent_find(initial_.begin(), initial_.end()) == initial_.end();
    }

    void add(uint64_t cluster) { changes_[cluster] = true; }
    void remove(uint64_t cluster) { changes_[cluster] = false; }
    bool contains(uint64_t cluster) const {
        if (const auto found = changes_.find(cluster); found != changes_.end()) return found->second;
        return std::binary_search(initial_.begin(), initial_.end(), cluster);
    }

  private:
    std::vector<uint64_t> initial_;
    std::unordered_map<uint64_t, bool> changes_;
};

}  // namespace inspect
