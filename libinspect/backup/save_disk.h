// SPDX-License-Identifier: LGPL-2.1-or-later
//
// A disk's contents into blobs of a repository. docs/backup-format.md says how a disk is cut.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
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
    std::atomic<uint64_t> read{0};       // bytes that were read
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

// The ids of the blobs that the disk consists of, all saved. Throws Error.
std::vector<repository::ObjectId> save_disk(BlockDevice& device, repository::BlobWriter& writer,
                                            const SaveDiskOptions& options, SaveDiskCounters& counters);

}  // namespace inspect
