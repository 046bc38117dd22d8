// SPDX-License-Identifier: LGPL-2.1-or-later
//
// BackupDevice: a disk in a backup repository, read-only, chunk by chunk as it is asked for.
#pragma once

#include <atomic>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>

#include "block/block_device.h"
#include "repository/chunk_cache.h"
#include "repository/disk_contents.h"

namespace inspect {

class BackupDevice final : public BlockDevice {
  public:
    // `name` is what messages call it. `cache` may be null.
    BackupDevice(std::shared_ptr<repository::Repository> repository, repository::DiskContents contents,
                 std::unique_ptr<repository::ChunkCache> cache, std::string name);
    // Says with -v what was read.
    ~BackupDevice() override;

    uint64_t size() const noexcept override { return contents_.size(); }
    bool read_only() const noexcept override { return true; }
    void read(uint64_t offset, std::span<std::byte> out) override;
    void write(uint64_t offset, std::span<const std::byte> in) override;
    void flush() override {}
    void discard(uint64_t offset, uint64_t length) override;
    void write_zeroes(uint64_t offset, uint64_t length, bool may_unmap) override;
    // kHole for what is known to be zeros.
    std::vector<Extent> extents(uint64_t offset, uint64_t length) override;

  private:
    using Chunk = std::shared_ptr<const repository::Bytes>;
    using Recent = std::list<std::pair<repository::ObjectId, Chunk>>;

    Chunk chunk(const repository::DiskChunk& wanted);
    void remember(const repository::ObjectId& id, const Chunk& chunk);

    std::shared_ptr<repository::Repository> repository_;
    const repository::DiskContents contents_;
    const std::unique_ptr<repository::ChunkCache> cache_;
    const std::string name_;

    std::mutex mutex_;  // of what was read last
    Recent recent_;     // the latest first
    std::unordered_map<repository::ObjectId, Recent::iterator, repository::ObjectIdHash> by_id_;
    uint64_t recent_bytes_ = 0;
    std::atomic<uint64_t> chunks_read_{0}, bytes_read_{0};
};

}  // namespace inspect
