// SPDX-License-Identifier: LGPL-2.1-or-later
//
// BlobWriter: puts blobs into a repository: those that it hasn't yet are compressed, sealed and collected
// into packs; packs that are full are written, and indexes for them from time to time. What was written
// before the program was killed is found by the next one.
#pragma once

#include <atomic>
#include <functional>
#include <mutex>
#include <unordered_set>
#include <utility>
#include <vector>

#include "repository/repository.h"

namespace inspect::repository {

struct BlobWriterOptions {
    int compression_level = 3;         // zstd's
    uint64_t pack_size = 16ULL << 20;  // bytes after which a pack is written
    // Called with the size of each file before it is written, to slow the writer down.
    std::function<void(uint64_t bytes)> before_write = {};
};

struct BlobWriterTotals {
    uint64_t new_blobs = 0;
    uint64_t known_blobs = 0;
    uint64_t new_bytes = 0;     // of contents, before compression
    uint64_t stored_bytes = 0;  // of the files written
};

// Thread-safe: compressing, sealing and writing happen in the threads that call save().
class BlobWriter {
  public:
    // `repository` must outlive this. Throws Error(kUnsupported) for one that is only read.
    BlobWriter(Repository& repository, BlobWriterOptions options);

    // Takes packs into the index that no index names: of a backup that was killed.
    void adopt_unindexed_packs();

    // Whether the repository has it already, for blobs that would have to be made to be saved.
    bool has(BlobType type, const ObjectId& id) { return repository_.index().has(type, id); }
    // Counts it as saved when the repository has it already; false: it is to be saved.
    bool skip(BlobType type, const ObjectId& id);
    // Stores the blob unless the repository has it. True when it hadn't.
    bool save(BlobType type, const ObjectId& id, std::span<const std::byte> plain);
    ObjectId save_tree(Tree tree);

    // Writes what is left, so that a snapshot may refer to all that was saved. No other call may be under
    // way.
    void flush();

    BlobWriterTotals totals() const;

  private:
    void write_pack(PackBuilder pack);
    void write_index(std::vector<IndexedPack> packs);

    Repository& repository_;
    const BlobWriterOptions options_;
    std::mutex mutex_;
    PackBuilder packs_[2];                                     // being filled, one a type
    std::unordered_set<ObjectId, ObjectIdHash> unwritten_[2];  // saved, in no pack of the index yet
    std::vector<IndexedPack> unindexed_;
    size_t unindexed_blobs_ = 0;
    std::atomic<uint64_t> new_blobs_{0}, known_blobs_{0}, new_bytes_{0}, stored_bytes_{0};
};

}  // namespace inspect::repository
