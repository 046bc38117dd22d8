// SPDX-License-Identifier: LGPL-2.1-or-later
//
// The disk is dealt with in slices, each by one thread from its first chunk to its last: what a slice has is
// read, hashed, compressed, sealed and written to a pack by the same thread, so the data stay in its CPU's
// cache, and nobody waits for anybody but at the packs. Slices are small, so that all CPUs have a part of a
// file that was written lately, which lies in one piece as a rule. Chunks are hashed two at a time, which
// takes little longer than one. Several of them are a unit: what one blob of zeros stands for, so that the
// list of a huge sparse disk's chunks stays short.
#include "backup/save_disk.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>

#include <inspect/error.h>

#include "backup/workers.h"
#include "base/zeros.h"
#include "block/shared_device.h"

namespace inspect {

namespace {

using repository::BlobType;
using repository::BlobWriter;
using repository::Bytes;
using repository::ObjectId;

constexpr uint64_t kZeroUnit = 16ULL << 20, kLargeZeroUnit = 64ULL << 20;
constexpr uint64_t kLargeDisk = 1ULL << 40, kLargestDisk = 256ULL << 40;
// Data that lie no further apart are read together.
constexpr uint64_t kReadTogether = 32 << 10;
constexpr uint64_t kSlicesPerUnit = 8;
// So much of a disk is asked for its extents at once, and the answers for so many of them are kept. A slice
// is never larger.
constexpr uint64_t kSavedStep = 256 << 20;
constexpr size_t kStepsKept = 4;

}  // namespace

class DiskSaver::Impl {
  public:
    Impl(BlockDevice& device, const SaveDiskOptions& options, SaveDiskCounters& counters)
        : device_(device),
          size_(device.size()),
          options_(options),
          counters_(counters),
          slice_size_(std::max(options.zero_unit / kSlicesPerUnit, options.chunk_size)),
          slices_((size_ + slice_size_ - 1) / slice_size_),
          hashed_(slices_.size()) {}

    void hash_ahead(const std::function<bool()>& enough) {
        // One CPU is left to whoever opens the repository: nothing can be saved before he is through.
        const unsigned threads = std::max(2U, std::thread::hardware_concurrency()) - 1;
        work_in_parallel(
            slices_.size(), std::min(threads, options_.threads),
            [&](size_t slice) {
                if (!enough()) hash_slice(slice);
            },
            options_.tick);
    }

    std::vector<ObjectId> save(BlobWriter& writer) {
        writer_ = &writer;
        work_in_parallel(
            slices_.size(), options_.threads,
            [this](size_t slice) { hashed_[slice] != 0 ? save_hashed(slice) : hash_slice(slice); },
            options_.tick);
        return all_ids();
    }

  private:
    // nullopt: zeros.
    using Slice = std::vector<std::optional<ObjectId>>;

    // A chunk that was read.
    struct Chunk {
        size_t number;  // in its slice
        Bytes bytes;
    };

    // With the writer, the slice is saved as well.
    void hash_slice(size_t number) {
        const uint64_t begin = number * slice_size_;
        const uint64_t length = std::min(slice_size_, size_ - begin);
        const RangeSet data = data_in(begin, length);
        Slice slice((length + options_.chunk_size - 1) / options_.chunk_size);
        thread_local Chunk chunks[2];
        size_t waiting = 0;
        for (size_t i = 0; i < slice.size(); ++i) {
            const uint64_t at = begin + i * options_.chunk_size;
            const uint64_t size = std::min(options_.chunk_size, size_ - at);
            counters_.done += size;
            if (const auto known = from_parent(at, size)) {
                counters_.unchanged += size;
                if (!known->zero) slice[i] = known->id;
                continue;
            }
            if (!read_chunk(data, at, size, true, chunks[waiting].bytes)) continue;
            chunks[waiting].number = i;
            if (++waiting < std::size(chunks)) continue;
            const auto ids = ObjectId::of_two(chunks[0].bytes, chunks[1].bytes);
            finish_chunk(slice, chunks[0], ids.first);
            finish_chunk(slice, chunks[1], ids.second);
            waiting = 0;
        }
        if (waiting != 0) finish_chunk(slice, chunks[0], ObjectId::of(chunks[0].bytes));
        hashed_[number] = 1;
        keep(number, std::move(slice));
    }

    void finish_chunk(Slice& slice, const Chunk& chunk, const ObjectId& id) {
        slice[chunk.number] = id;
        if (writer_ != nullptr) writer_->save(BlobType::kData, id, chunk.bytes);
    }

    // What was hashed ahead: as a rule the repository has it.
    void save_hashed(size_t number) {
        if (!slices_[number]) return;
        Slice slice = std::move(*slices_[number]);
        const uint64_t begin = number * slice_size_;
        std::optional<RangeSet> data;
        Bytes bytes;
        for (size_t i = 0; i < slice.size(); ++i) {
            if (!slice[i] || writer_->skip(BlobType::kData, *slice[i])) continue;
            const uint64_t at = begin + i * options_.chunk_size;
            if (!data) data = data_in(begin, std::min(slice_size_, size_ - begin));
            slice[i].reset();
            // What is saved is named by what was read now, should the image have changed meanwhile.
            if (!read_chunk(*data, at, std::min(options_.chunk_size, size_ - at), false, bytes)) continue;
            slice[i] = ObjectId::of(bytes);
            writer_->save(BlobType::kData, *slice[i], bytes);
        }
        keep(number, std::move(slice));
    }

    void keep(size_t number, Slice slice) {
        const bool zero = std::ranges::none_of(slice, [](const auto& id) { return id.has_value(); });
        slices_[number] = zero ? nullptr : std::make_unique<Slice>(std::move(slice));
    }

    // What of a slice is to be read.
    RangeSet data_in(uint64_t begin, uint64_t length) {
        const uint64_t end = begin + length;
        const auto all = data_of_step(begin / kSavedStep);
        RangeSet data;
        auto it = std::ranges::upper_bound(all->ranges(), begin, {}, &RangeSet::Range::end);
        for (; it != all->ranges().end() && it->begin < end; ++it)
            data.add(std::max(it->begin, begin), std::min(it->end, end) - std::max(it->begin, begin));
        return data;
    }

    // Asking for a device's extents stops all who read it: it is done for many slices at once.
    std::shared_ptr<const RangeSet> data_of_step(uint64_t step) {
        const std::lock_guard guard(steps_mutex_);
        auto& found = steps_[step];
        if (!found) found = std::make_shared<const RangeSet>(find_data(step * kSavedStep));
        const auto result = found;
        if (steps_.size() > kStepsKept) steps_.erase(steps_.begin());
        return result;
    }

    RangeSet find_data(uint64_t begin) {
        const uint64_t length = std::min(kSavedStep, size_ - begin);
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
        return data;
    }

    // False: zeros. `first`: it is to be counted as read.
    bool read_chunk(const RangeSet& data, uint64_t offset, uint64_t length, bool first, Bytes& buffer) {
        RangeSet reads;
        clip(data, offset, length, reads);
        if (reads.empty()) return false;
        buffer.resize(length);
        reads.for_each_gap(offset, length, [&](uint64_t at, uint64_t size) {
            std::memset(buffer.data() + (at - offset), 0, size);
        });
        for (const auto& [begin, end] : reads.ranges()) {
            if (options_.limiter != nullptr) options_.limiter->pass(end - begin);
            device_.read(begin, std::span(buffer).subspan(begin - offset, end - begin));
            if (first) counters_.read += end - begin;
        }
        if (options_.unused != nullptr) wipe_unused(buffer, offset, length);
        return !is_all_zeros(buffer);
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
        if (!writer_->has(BlobType::kData, id)) writer_->save(BlobType::kData, id, Bytes(length));
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
    BlobWriter* writer_ = nullptr;  // null: not yet
    const SaveDiskOptions& options_;
    SaveDiskCounters& counters_;
    std::mutex steps_mutex_;
    std::map<uint64_t, std::shared_ptr<const RangeSet>> steps_;  // what is data there
    const uint64_t slice_size_;                                  // a power of two, as the unit's
    std::vector<std::unique_ptr<Slice>> slices_;                 // null: zeros
    std::vector<char> hashed_;  // the slices that are, one byte for each: threads write them
    std::map<uint64_t, ObjectId> zero_ids_;
};

uint64_t zero_unit_for(uint64_t disk_size, uint64_t chunk_size) {
    return std::max(disk_size > kLargeDisk ? kLargeZeroUnit : kZeroUnit, chunk_size);
}

DiskSaver::DiskSaver(BlockDevice& device, const SaveDiskOptions& options, SaveDiskCounters& counters) {
    if (!std::has_single_bit(options.chunk_size) || options.chunk_size < kMinChunkSize ||
        options.chunk_size > kMaxChunkSize)
        throw Error(ErrorKind::kUsage, "the size of chunks is a power of two from 64 KiB to 8 MiB");
    if (device.size() > kLargestDisk)
        throw Error(ErrorKind::kUnsupported, "a disk of more than 256 TiB can't be backed up");
    impl_ = std::make_unique<Impl>(device, options, counters);
}

DiskSaver::~DiskSaver() = default;

void DiskSaver::hash_ahead(const std::function<bool()>& enough) { impl_->hash_ahead(enough); }

std::vector<ObjectId> DiskSaver::save(BlobWriter& writer) { return impl_->save(writer); }

}  // namespace inspect
