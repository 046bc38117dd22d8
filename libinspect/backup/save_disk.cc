// SPDX-License-Identifier: LGPL-2.1-or-later
//
// The disk is dealt with in slices, each by one thread from its first chunk to its last: what a slice has is
// read, hashed, compressed, sealed and written to a pack by the same thread, so the data stay in its CPU's
// cache, and nobody waits for anybody but at the packs. Slices are small, so that all CPUs have a part of a
// file that was written lately, which lies in one piece as a rule. Several of them are a unit: what one blob
// of zeros stands for, so that the list of a huge sparse disk's chunks stays short.
#include "backup/save_disk.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <map>
#include <memory>
#include <optional>

#include <inspect/error.h>

#include "backup/workers.h"
#include "block/shared_device.h"

namespace inspect {

namespace {

using repository::BlobType;
using repository::Bytes;
using repository::ObjectId;

constexpr uint64_t kZeroUnit = 16ULL << 20, kLargeZeroUnit = 64ULL << 20;
constexpr uint64_t kLargeDisk = 1ULL << 40, kLargestDisk = 256ULL << 40;
// Data that lie no further apart are read together.
constexpr uint64_t kReadTogether = 32 << 10;
constexpr uint64_t kSlicesPerUnit = 8;

bool is_zero(std::span<const std::byte> bytes) {
    return bytes.empty() ||
           (bytes[0] == std::byte{0} && std::memcmp(bytes.data(), bytes.data() + 1, bytes.size() - 1) == 0);
}

class DiskSaver {
  public:
    DiskSaver(BlockDevice& device, repository::BlobWriter& writer, const SaveDiskOptions& options,
              SaveDiskCounters& counters)
        : device_(device),
          size_(device.size()),
          writer_(writer),
          options_(options),
          counters_(counters),
          slice_size_(std::max(options.zero_unit / kSlicesPerUnit, options.chunk_size)) {}

    std::vector<ObjectId> save() {
        slices_.resize((size_ + slice_size_ - 1) / slice_size_);
        work_in_parallel(
            slices_.size(), options_.threads, [this](size_t slice) { save_slice(slice); }, options_.tick);
        return all_ids();
    }

  private:
    // nullopt: zeros.
    using Slice = std::vector<std::optional<ObjectId>>;

    void save_slice(size_t number) {
        const uint64_t begin = number * slice_size_;
        const uint64_t length = std::min(slice_size_, size_ - begin);
        const auto extents =
            device_.alone([&](BlockDevice& device) { return device.extents(begin, length); });
        RangeSet data;
        for (const Extent& extent : extents) {
            if (extent.kind != ExtentKind::kData) continue;
            if (options_.unused == nullptr) {
                data.add(extent.offset, extent.length);
            } else {
                options_.unused->for_each_gap(extent.offset, extent.length,
                                              [&data](uint64_t at, uint64_t size) { data.add(at, size); });
            }
        }
        Slice slice;
        bool zero = true;
        for (uint64_t at = begin; at < begin + length; at += options_.chunk_size) {
            const uint64_t size = std::min(options_.chunk_size, size_ - at);
            slice.push_back(save_chunk(data, at, size));
            zero = zero && !slice.back();
            counters_.done += size;
        }
        if (!zero) slices_[number] = std::make_unique<Slice>(std::move(slice));
    }

    std::optional<ObjectId> save_chunk(const RangeSet& data, uint64_t offset, uint64_t length) {
        if (const auto known = from_parent(offset, length)) {
            counters_.unchanged += length;
            return known->zero ? std::nullopt : std::optional(known->id);
        }
        RangeSet reads;
        clip(data, offset, length, reads);
        if (reads.empty()) return std::nullopt;
        thread_local Bytes buffer;
        buffer.resize(length);
        reads.for_each_gap(offset, length, [&](uint64_t at, uint64_t size) {
            std::memset(buffer.data() + (at - offset), 0, size);
        });
        for (const auto& [begin, end] : reads.ranges()) {
            if (options_.limiter != nullptr) options_.limiter->pass(end - begin);
            device_.read(begin, std::span(buffer).subspan(begin - offset, end - begin));
            counters_.read += end - begin;
        }
        if (options_.unused != nullptr) wipe_unused(buffer, offset, length);
        if (is_zero(buffer)) return std::nullopt;
        const ObjectId id = ObjectId::of(buffer);
        writer_.save(BlobType::kData, id, buffer);
        return id;
    }

    // The ranges of `data` within a chunk, with small gaps closed.
    static void clip(const RangeSet& data, uint64_t offset, uint64_t length, RangeSet& reads) {
        const uint64_t limit = offset + length;
        auto it = std::ranges::upper_bound(data.ranges(), offset, {}, &RangeSet::Range::end);
        for (; it != data.ranges().end() && it->begin < limit; ++it) {
            const uint64_t begin = std::max(it->begin, offset), end = std::min(it->end, limit);
            const auto& before = reads.ranges();
            const uint64_t from =
                !before.empty() && begin - before.back().end <= kReadTogether ? before.back().end : begin;
            reads.add(from, end - from);
        }
    }

    // What is free may hold anything: zeros in its place make equal disks equal.
    void wipe_unused(Bytes& buffer, uint64_t offset, uint64_t length) const {
        const auto& ranges = options_.unused->ranges();
        auto it = std::ranges::upper_bound(ranges, offset, {}, &RangeSet::Range::end);
        for (; it != ranges.end() && it->begin < offset + length; ++it) {
            const uint64_t begin = std::max(it->begin, offset), end = std::min(it->end, offset + length);
            std::memset(buffer.data() + (begin - offset), 0, end - begin);
        }
    }

    // The parent's chunk of the same place, if this one is known to be the same.
    std::optional<repository::DiskChunk> from_parent(uint64_t offset, uint64_t length) const {
        if (options_.parent == nullptr || options_.unchanged == nullptr ||
            !options_.unchanged->covers(offset, length) || offset + length > options_.parent->size())
            return std::nullopt;
        repository::DiskChunk chunk = options_.parent->chunk(options_.parent->find(offset));
        if (chunk.zero && chunk.offset <= offset && chunk.offset + chunk.length >= offset + length)
            return chunk;
        if (chunk.offset != offset || chunk.length != length) return std::nullopt;
        return chunk;
    }

    ObjectId zeros(uint64_t length) {
        const auto found = zero_ids_.find(length);
        if (found != zero_ids_.end()) return found->second;
        const ObjectId id = repository::zero_blob_id(length);
        if (!writer_.has(BlobType::kData, id)) writer_.save(BlobType::kData, id, Bytes(length));
        zero_ids_.emplace(length, id);
        return id;
    }

    bool is_zero_unit(uint64_t begin) const {
        const size_t first = begin / slice_size_, count = options_.zero_unit / slice_size_;
        return size_ - begin >= options_.zero_unit && std::all_of(&slices_[first], &slices_[first] + count,
                                                                  [](const auto& slice) { return !slice; });
    }

    std::vector<ObjectId> all_ids() {
        std::vector<ObjectId> ids;
        for (uint64_t unit = 0; unit < size_; unit += options_.zero_unit) {
            if (is_zero_unit(unit)) {
                ids.push_back(zeros(options_.zero_unit));
                continue;
            }
            const uint64_t end = unit + std::min(options_.zero_unit, size_ - unit);
            for (uint64_t at = unit; at < end; at += options_.chunk_size) {
                const auto& slice = slices_[at / slice_size_];
                const auto id = slice ? (*slice)[at % slice_size_ / options_.chunk_size] : std::nullopt;
                ids.push_back(id ? *id : zeros(std::min(options_.chunk_size, end - at)));
            }
        }
        return ids;
    }

    SharedDevice device_;
    const uint64_t size_;
    repository::BlobWriter& writer_;
    const SaveDiskOptions& options_;
    SaveDiskCounters& counters_;
    const uint64_t slice_size_;                   // a power of two, as the unit's
    std::vector<std::unique_ptr<Slice>> slices_;  // null: zeros
    std::map<uint64_t, ObjectId> zero_ids_;
};

}  // namespace

uint64_t zero_unit_for(uint64_t disk_size, uint64_t chunk_size) {
    return std::max(disk_size > kLargeDisk ? kLargeZeroUnit : kZeroUnit, chunk_size);
}

std::vector<ObjectId> save_disk(BlockDevice& device, repository::BlobWriter& writer,
                                const SaveDiskOptions& options, SaveDiskCounters& counters) {
    if (!std::has_single_bit(options.chunk_size) || options.chunk_size < kMinChunkSize ||
        options.chunk_size > kMaxChunkSize)
        throw Error(ErrorKind::kUsage, "the size of chunks is a power of two from 64 KiB to 8 MiB");
    if (device.size() > kLargestDisk)
        throw Error(ErrorKind::kUnsupported, "a disk of more than 256 TiB can't be backed up");
    return DiskSaver(device, writer, options, counters).save();
}

}  // namespace inspect
