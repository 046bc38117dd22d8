// SPDX-License-Identifier: LGPL-2.1-or-later
#include "block/backup_device.h"

#include <algorithm>
#include <cstring>

#include <inspect/error.h>

#include "base/log.h"

namespace inspect {

namespace {

// Of chunks that were read last, in memory.
constexpr uint64_t kRecentBytes = 64ULL << 20;

}  // namespace

BackupDevice::BackupDevice(std::shared_ptr<repository::Repository> repository,
                           repository::DiskContents contents, std::unique_ptr<repository::ChunkCache> cache,
                           std::string name)
    : repository_(std::move(repository)),
      contents_(std::move(contents)),
      cache_(std::move(cache)),
      name_(std::move(name)) {}

BackupDevice::~BackupDevice() {
    log(LogLevel::kVerbose, "of '" + name_ + "' " + std::to_string(chunks_read_) + " chunks with " +
                                std::to_string(bytes_read_) + " bytes were read from the repository");
}

BackupDevice::Chunk BackupDevice::chunk(const repository::DiskChunk& wanted) {
    {
        const std::lock_guard guard(mutex_);
        if (const auto found = by_id_.find(wanted.id); found != by_id_.end()) {
            recent_.splice(recent_.begin(), recent_, found->second);
            return found->second->second;
        }
    }
    std::optional<repository::Bytes> plain;
    if (cache_) plain = cache_->find(wanted.id);
    if (!plain) {
        try {
            plain = repository_->read_blob(repository::BlobType::kData, wanted.id);
        } catch (const Error& error) {
            throw error.with_context("'" + name_ + "'");
        }
        ++chunks_read_;
        bytes_read_ += plain->size();
        if (cache_) cache_->add(wanted.id, *plain);
    }
    if (plain->size() != wanted.length)
        throw Error(ErrorKind::kCorrupt, "'" + name_ + "': a chunk has another size than the index says");
    auto chunk = std::make_shared<const repository::Bytes>(std::move(*plain));
    remember(wanted.id, chunk);
    return chunk;
}

void BackupDevice::remember(const repository::ObjectId& id, const Chunk& chunk) {
    const std::lock_guard guard(mutex_);
    if (by_id_.contains(id)) return;
    recent_.emplace_front(id, chunk);
    by_id_[id] = recent_.begin();
    recent_bytes_ += chunk->size();
    while (recent_bytes_ > kRecentBytes && recent_.size() > 1) {
        recent_bytes_ -= recent_.back().second->size();
        by_id_.erase(recent_.back().first);
        recent_.pop_back();
    }
}

void BackupDevice::read(uint64_t offset, std::span<std::byte> out) {
    require_range(offset, out.size());
    if (out.empty()) return;
    for (size_t number = contents_.find(offset); !out.empty(); ++number) {
        const repository::DiskChunk wanted = contents_.chunk(number);
        const uint64_t skip = offset - wanted.offset;
        const size_t length = std::min<uint64_t>(out.size(), wanted.length - skip);
        if (length == 0) continue;
        if (wanted.zero) {
            std::memset(out.data(), 0, length);
        } else {
            std::memcpy(out.data(), chunk(wanted)->data() + skip, length);
        }
        out = out.subspan(length);
        offset += length;
    }
}

void BackupDevice::write(uint64_t, std::span<const std::byte>) { require_writable(); }
void BackupDevice::discard(uint64_t, uint64_t) { require_writable(); }
void BackupDevice::write_zeroes(uint64_t, uint64_t, bool) { require_writable(); }

std::vector<Extent> BackupDevice::extents(uint64_t offset, uint64_t length) {
    require_range(offset, length);
    std::vector<Extent> result;
    if (length == 0) return result;
    const uint64_t end = offset + length;
    for (size_t number = contents_.find(offset); offset < end; ++number) {
        const repository::DiskChunk chunk = contents_.chunk(number);
        const uint64_t until = std::min(end, chunk.offset + chunk.length);
        if (until == offset) continue;
        const ExtentKind kind = chunk.zero ? ExtentKind::kHole : ExtentKind::kData;
        if (!result.empty() && result.back().kind == kind) {
            result.back().length += until - offset;
        } else {
            result.push_back({offset, until - offset, kind});
        }
        offset = until;
    }
    return result;
}

}  // namespace inspect
