// SPDX-License-Identifier: LGPL-2.1-or-later
//
// ReadCache: parts of files, in chunks, that were read from the agent or are on their way.
//
// The kernel's page cache stands before it and asks in pieces as small as a page. A round trip to the agent
// costs about the same for a page and for a chunk, so whole chunks are fetched, and what is asked next is
// here.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <unordered_map>
#include <vector>

namespace inspect::fuse {

// Not thread-safe.
class ReadCache {
  public:
    static constexpr uint64_t kChunk = 128 << 10;       // bytes
    static constexpr uint64_t kMostBytes = 256u << 20;  // that are held

    struct Chunk {
        std::vector<std::byte> data;  // shorter than kChunk: the file ends here
        bool loading = true;
        int error = 0;                               // an errno: it could not be read
        std::vector<std::function<void()>> waiting;  // called once it is loaded, or has failed
    };

    // The chunk of a file, or null.
    std::shared_ptr<Chunk> find(uint64_t node, uint64_t index);
    // A new chunk, which takes the place of one that may be there; it is loading.
    std::shared_ptr<Chunk> add(uint64_t node, uint64_t index);
    // It has its data or its error: who waits is told. What failed is forgotten.
    void loaded(uint64_t node, uint64_t index, const std::shared_ptr<Chunk>& chunk);

    // The contents change: what is here, or on its way, is not used for later reads. Who waits already gets
    // it.
    void drop(uint64_t node);
    void drop(uint64_t node, uint64_t offset, uint64_t length);

  private:
    struct Place {
        uint64_t node;
        uint64_t index;
    };
    struct Entry {
        std::shared_ptr<Chunk> chunk;
        std::list<Place>::iterator recent;
    };
    using File = std::map<uint64_t, Entry>;

    void erase(File& file, File::iterator entry);

    std::unordered_map<uint64_t, File> files_;
    std::list<Place> recent_;  // the one used last at the front
    uint64_t bytes_ = 0;
};

}  // namespace inspect::fuse
