// SPDX-License-Identifier: LGPL-2.1-or-later
#include "block/qcow2/refcounts.h"

#include <algorithm>
#include <cstring>
#include <span>
#include <string>
#include <utility>

#include <inspect/error.h>

#include "base/checked.h"
#include "base/endian.h"
#include "block/qcow2/refcount_entry.h"

namespace inspect {

using namespace qcow2_format;

namespace {

constexpr size_t kCachedRefcounts = 4 << 20;
constexpr uint64_t kMaxBlocks = kMaxRefcountTableBytes / 8;
constexpr uint64_t kEntriesInSector = kHeaderSector / 8;

[[noreturn]] void corrupt_refcounts(const std::string& what) {
    throw Error(ErrorKind::kCorrupt,
                "the qcow2 image's metadata is damaged: " + what +
                    "; nothing was written over it. `qemu-img check -r all` may repair it; keep a copy");
}

}  // namespace

Qcow2Refcounts::Qcow2Refcounts(BlockDevice& file, Qcow2Header& header, MetadataMap& metadata)
    : file_(file),
      header_(header),
      metadata_(metadata),
      cache_(file, std::min<uint64_t>(header.cluster_size(), 4096),
             kCachedRefcounts / std::min<uint64_t>(header.cluster_size(), 4096)),
      order_(header.refcount_order),
      block_bits_(header.cluster_bits + 3 - header.refcount_order),
      max_(header.refcount_order == 6 ? ~uint64_t{0} : (uint64_t{1} << header.refcount_bits()) - 1),
      fresh_from_(align_up(file.size(), header.cluster_size()) >> header.cluster_bits) {
    const uint64_t bytes = uint64_t{header.refcount_table_clusters} << header.cluster_bits;
    std::vector<be64> raw(bytes / 8);
    const uint64_t present = std::min(bytes, file.size() - header.refcount_table_offset);
    file.read(header.refcount_table_offset, std::as_writable_bytes(std::span(raw)).first(present));
    table_.assign(raw.begin(), raw.end());
    const uint64_t end = fresh_from_ << header.cluster_bits;
    for (const uint64_t offset : table_) {
        if (offset % header.cluster_size() != 0 || offset >= end) {
            corrupt_refcounts("a refcount block is at " + std::to_string(offset) + ", where none can be");
        }
    }
}

void Qcow2Refcounts::list_metadata(const std::function<void(ClusterRun)>& visit) const {
    visit({header_.refcount_table_offset >> header_.cluster_bits, header_.refcount_table_clusters});
    for (const uint64_t offset : table_) {
        if (offset != 0) visit({offset >> header_.cluster_bits, 1});
    }
}

uint64_t Qcow2Refcounts::slice_of(uint64_t cluster, uint64_t& index) const {
    const uint64_t in_block = cluster & ((uint64_t{1} << block_bits_) - 1);
    const uint64_t per_slice = (cache_.slice_size() * 8) >> order_;
    index = in_block % per_slice;
    return table_[block_of(cluster)] + in_block / per_slice * cache_.slice_size();
}

uint64_t Qcow2Refcounts::get(uint64_t cluster) {
    if (!has_block(block_of(cluster))) return 0;
    uint64_t index;
    const uint64_t slice = slice_of(cluster, index);
    return load_refcount(cache_.get(slice), index, order_);
}

void Qcow2Refcounts::set(uint64_t cluster, uint64_t value) {
    uint64_t index;
    const uint64_t slice = slice_of(cluster, index);
    store_refcount(cache_.get_dirty(slice), index, order_, value);
}

// The first run of at least `least` free clusters at or after `from`, at most `most` of it. What no refcount
// block exists for is free.
uint64_t Qcow2Refcounts::find_free(uint64_t from, uint64_t least, uint64_t most, uint64_t& count) {
    const uint64_t limit = std::min(kMaxFileSize >> header_.cluster_bits, kMaxBlocks << block_bits_);
    const uint64_t per_slice = (cache_.slice_size() * 8) >> order_;
    count = 0;
    uint64_t cluster = from;
    while (count < most) {
        if (cluster >= limit) {
            if (count >= least) break;
            throw Error(ErrorKind::kNoSpace, "the qcow2 image can't grow any further with clusters of " +
                                                 std::to_string(header_.cluster_size()) + " bytes");
        }
        if (!has_block(block_of(cluster))) {
            const uint64_t end = std::min((block_of(cluster) + 1) << block_bits_, limit);
            const uint64_t taken = std::min(end - cluster, most - count);
            cluster += taken;
            count += taken;
            continue;
        }
        uint64_t index;
        const uint64_t slice = slice_of(cluster, index);
        const std::byte* base = cache_.get(slice);
        for (; index < per_slice && count < most; ++index, ++cluster) {
            if (load_refcount(base, index, order_) == 0) {
                ++count;
            } else if (count >= least) {
                return cluster - count;
            } else {
                count = 0;
            }
        }
    }
    return cluster - count;
}

Qcow2Refcounts::Allocation Qcow2Refcounts::allocate(uint64_t least, uint64_t most) {
    Allocation result{};
    result.first = find_free(hint_, least, most, result.count);
    const uint64_t end = result.first + result.count;
    require_no_metadata(result.first, result.count);
    for (uint64_t block = block_of(result.first); block <= block_of(end - 1); ++block) {
        if (!has_block(block)) make_block(block, end);
    }
    extend_file(end);
    result.zeroed = result.first >= fresh_from_;
    fresh_from_ = std::max(fresh_from_, end);
    for (uint64_t cluster = result.first; cluster < end; ++cluster) set(cluster, 1);
    if (least == 1) hint_ = end;  // with more than one, a hole too small may have been passed over
    return result;
}

bool Qcow2Refcounts::allocate_at(uint64_t cluster) {
    if (get(cluster) != 0) return false;
    if (block_of(cluster) >= kMaxBlocks) return false;
    require_no_metadata(cluster, 1);
    if (!has_block(block_of(cluster))) make_block(block_of(cluster), cluster + 1);
    extend_file(cluster + 1);
    fresh_from_ = std::max(fresh_from_, cluster + 1);
    set(cluster, 1);
    return true;
}

void Qcow2Refcounts::increase(uint64_t cluster) { set(cluster, get(cluster) + 1); }

void Qcow2Refcounts::undo(uint64_t first, uint64_t count) {
    for (uint64_t cluster = first; cluster < first + count; ++cluster) {
        const uint64_t value = get(cluster);
        if (value > 0) set(cluster, value - 1);
    }
    hint_ = std::min(hint_, first);
}

void Qcow2Refcounts::free_later(uint64_t first, uint64_t count) {
    for (uint64_t cluster = first; cluster < first + count; ++cluster) {
        if (get(cluster) == 0) {
            corrupt_refcounts("the cluster at " + std::to_string(cluster << header_.cluster_bits) +
                              " is in use, but counted as free");
        }
    }
    if (!frees_.empty() && frees_.back().first + frees_.back().count == first) {
        frees_.back().count += count;
    } else {
        frees_.push_back({first, count});
    }
}

// Makes the refcount block that is missing, in a free cluster at or after `after`. A cluster whose own
// refcount would be in a missing block becomes that block first: it counts itself.
void Qcow2Refcounts::make_block(uint64_t block, uint64_t after) {
    while (true) {
        uint64_t count;
        const uint64_t cluster = find_free(after, 1, 1, count);
        const uint64_t own = block_of(cluster);
        if (own == block || has_block(own)) {
            put_block(block, cluster);
            return;
        }
        put_block(own, cluster);
        after = cluster + 1;
    }
}

void Qcow2Refcounts::put_block(uint64_t block, uint64_t cluster) {
    require_no_metadata(cluster, 1);
    extend_file(cluster + 1);
    const uint64_t offset = cluster << header_.cluster_bits;
    if (cluster < fresh_from_) file_.write_zeroes(offset, header_.cluster_size(), false);
    fresh_from_ = std::max(fresh_from_, cluster + 1);
    cache_.forget(offset, header_.cluster_size());
    if (table_.size() <= block) table_.resize(block + 1);
    table_[block] = offset;
    const uint64_t sector = block / kEntriesInSector;
    if (std::find(dirty_table_sectors_.begin(), dirty_table_sectors_.end(), sector) ==
        dirty_table_sectors_.end()) {
        dirty_table_sectors_.push_back(sector);
    }
    metadata_.add(cluster);
    set(cluster, 1);
}

void Qcow2Refcounts::require_no_metadata(uint64_t first, uint64_t count) const {
    for (uint64_t cluster = first; cluster < first + count; ++cluster) {
        if (metadata_.contains(cluster)) {
            corrupt_refcounts("the cluster at " + std::to_string(cluster << header_.cluster_bits) +
                              " has metadata in it, but is counted as free");
        }
    }
}

void Qcow2Refcounts::extend_file(uint64_t end_cluster) {
    const uint64_t end = end_cluster << header_.cluster_bits;
    if (end <= file_.size()) return;
    try {
        file_.resize(end);
    } catch (const Error& error) {
        if (error.kind() != ErrorKind::kUnsupported) throw;
        throw Error(ErrorKind::kNoSpace,
                    "the device that holds the qcow2 image is full: the image would need " +
                        std::to_string(end) + " bytes");
    }
}

// When the table has outgrown its place, finds a larger one and gives the old one up.
void Qcow2Refcounts::make_room_in_table() {
    const uint64_t capacity = (uint64_t{header_.refcount_table_clusters} << header_.cluster_bits) / 8;
    if (table_.size() <= capacity) return;
    const uint64_t wanted = std::min<uint64_t>(table_.size() + table_.size() / 2 + 64, kMaxBlocks);
    const uint64_t clusters = align_up(wanted * 8, header_.cluster_size()) >> header_.cluster_bits;
    const Allocation place = allocate(clusters, clusters);
    for (uint64_t i = 0; i < clusters; ++i) metadata_.add(place.first + i);
    if (table_moves_) {  // it did already, and was never published
        undo(header_.refcount_table_offset >> header_.cluster_bits, header_.refcount_table_clusters);
    } else {
        free_later(header_.refcount_table_offset >> header_.cluster_bits, header_.refcount_table_clusters);
    }
    header_.refcount_table_offset = place.first << header_.cluster_bits;
    header_.refcount_table_clusters = static_cast<uint32_t>(clusters);
    table_moves_ = true;
}

void Qcow2Refcounts::write_blocks() {
    make_room_in_table();
    cache_.write_back();
    if (!table_moves_) return;
    std::vector<be64> raw((uint64_t{header_.refcount_table_clusters} << header_.cluster_bits) / 8, be64(0));
    std::copy(table_.begin(), table_.end(), raw.begin());
    file_.write(header_.refcount_table_offset, std::as_bytes(std::span(raw)));
}

void Qcow2Refcounts::publish_table(const std::function<void()>& write_header) {
    if (table_moves_) {
        write_header();
    } else {
        for (const uint64_t sector : dirty_table_sectors_) {
            be64 raw[kEntriesInSector];
            for (uint64_t i = 0; i < kEntriesInSector; ++i) {
                const uint64_t block = sector * kEntriesInSector + i;
                raw[i] = block < table_.size() ? table_[block] : 0;
            }
            file_.write(header_.refcount_table_offset + sector * kHeaderSector,
                        std::as_bytes(std::span(raw)));
        }
    }
    table_moves_ = false;
    dirty_table_sectors_.clear();
}

void Qcow2Refcounts::apply_frees(const std::function<void(ClusterRun)>& freed) {
    const std::vector<ClusterRun> frees = std::exchange(frees_, {});
    for (const ClusterRun& run : frees) {
        uint64_t first = run.first, cluster = run.first;
        const auto report = [&] {
            if (cluster > first) freed({first, cluster - first});
        };
        for (; cluster < run.first + run.count; ++cluster) {
            const uint64_t value = get(cluster);
            if (value > 0) set(cluster, value - 1);
            trim();
            if (value == 1) continue;
            report();
            first = cluster + 1;
        }
        report();
        hint_ = std::min(hint_, run.first);
    }
}

}  // namespace inspect
