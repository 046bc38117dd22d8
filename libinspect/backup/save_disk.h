// SPDX-License-Identifier: LGPL-2.1-or-later
//
// A disk's contents into blobs of a repository. docs/backup-format.md says how a disk is cut.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "backup/rate_limiter.h"
#include "base/range_set.h"
#include "block/block_device.h"
#include "repository/blob_writer.h"
#include "repository/disk_contents.h"

namespace inspect {

// What a chunk and a run of zeros are, bytes.
inline constexpr uint64_t kDefaultChunkSize = 512 << 10;
inline constexpr uint64_t kMinChunkSize = 64 << 10, kMaxChunkSize = 8 << 20;
uint64_t zero_unit_for(uint64_t disk_size, uint64_t chunk_size);

struct SaveDiskCounters {
    std::atomic<uint64_t> done{0};       // bytes of the disk that are dealt with
    std::atomic<uint64_t> read{0};       // bytes of the disk that were read
    std::atomic<uint64_t> unchanged{0};  // bytes that are the parent's
};

struct SaveDiskOptions {
    uint64_t chunk_size = kDefaultChunkSize;
    uint64_t zero_unit = 0;  // chunk_size times a power of two
    unsigned threads = 1;
    const RangeSet* unused = nullptr;     // read as zeros; may be null
    const RangeSet* unchanged = nullptr;  // is what `parent` has; null: nothing is
    const repository::DiskContents* parent = nullptr;
    RateLimiter* limiter = nullptr;
    std::function<void()> tick = {};
};

// Saves one disk: perhaps hash_ahead(), then save(). Used by one thread; the work is done by several.
class DiskSaver {
  public:
    // All that is given must outlive it. Throws Error(kUsage, kUnsupported) for what can't be cut so.
    DiskSaver(BlockDevice& device, const SaveDiskOptions& options, SaveDiskCounters& counters);
    ~DiskSaver();

    // Reads and hashes until all is, or enough() says so; for the time in which there is no writer yet. What
    // is kept of a chunk is its id alone: those that the repository turns out to lack are read, and hashed,
    // again.
    void hash_ahead(const std::function<bool()>& enough);
    // The ids of the blobs that the disk consists of, all saved. Once.
    std::vector<repository::ObjectId> save(repository::BlobWriter& writer);

  private:
    class Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace inspect
