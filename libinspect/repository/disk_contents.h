// SPDX-License-Identifier: LGPL-2.1-or-later
//
// DiskContents: a file of a snapshot, by offsets: which blob is where, and which of them are known to be
// zeros without being read.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "repository/repository.h"

namespace inspect::repository {

struct DiskChunk {
    ObjectId id;
    uint64_t offset = 0;  // in the file, bytes
    uint64_t length = 0;
    bool zero = false;  // it is known to be zeros
};

// Immutable and thread-safe.
class DiskContents {
  public:
    // `zero_lengths`: blobs of these lengths are looked at for being zeros. Throws Error: kNotFound (names
    // the blob) when a blob is in no index, kCorrupt when they don't add up to the file's size.
    DiskContents(Repository& repository, const TreeNode& file, const std::vector<uint64_t>& zero_lengths);

    uint64_t size() const noexcept { return size_; }
    size_t count() const noexcept { return ids_.size(); }
    DiskChunk chunk(size_t number) const;
    // The number of the chunk that has the byte at `offset`, which lies within size().
    size_t find(uint64_t offset) const;

  private:
    uint64_t size_;
    std::vector<ObjectId> ids_;
    std::vector<uint64_t> starts_;  // of each chunk, and the end
    std::vector<std::pair<uint64_t, ObjectId>> zeros_;
};

// The id of so many zeros.
ObjectId zero_blob_id(uint64_t length);

}  // namespace inspect::repository
