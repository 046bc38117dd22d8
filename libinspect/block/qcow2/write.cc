// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Writing a qcow2 image: where data goes, and in which order what is on disk changes. docs/qcow2.md says why
// that order leaves a sound image wherever it is cut.
#include <algorithm>
#include <cstring>
#include <string>
#include <utility>

#include <inspect/error.h>

#include "base/checked.h"
#include "block/qcow2/compression.h"
#include "block/qcow2/qcow2.h"

namespace inspect {

using namespace qcow2_format;

namespace {

constexpr uint64_t kMaxRunBytes = 64 << 20;  // that is allocated and written in one go

[[noreturn]] void corrupt_metadata(const std::string& what) {
    throw Error(ErrorKind::kCorrupt,
                "the qcow2 image's metadata is damaged: " + what +
                    "; nothing was written there. `qemu-img check -r all` may repair it; keep a copy");
}

}  // namespace

// What has to happen before the first change: know where all metadata is, and tell programs that look at the
// image later what is not kept up to date.
void Qcow2Device::begin_change() {
    if (failed_) {
        throw Error(ErrorKind::kCorrupt,
                    "the qcow2 image's storage failed to flush before, so it is not written any more");
    }
    if (refcounts_) return;
    metadata_ = {};
    auto refcounts = std::make_unique<Qcow2Refcounts>(*file_, header_, metadata_);
    const auto add = [&](uint64_t offset, uint64_t bytes) {
        const uint64_t first = offset >> header_.cluster_bits;
        const uint64_t end = (offset + bytes + header_.cluster_size() - 1) >> header_.cluster_bits;
        metadata_.add_initial(first, end - first);
    };
    add(0, 1);
    add(header_.l1_offset, uint64_t{header_.l1_entries} * 8);
    refcounts->list_metadata([&](ClusterRun run) { metadata_.add_initial(run.first, run.count); });
    uint64_t snapshot_table_bytes = 0;
    for (const Qcow2Snapshot& snapshot : read_snapshots(*file_, header_, &snapshot_table_bytes)) {
        add(snapshot.l1_offset, uint64_t{snapshot.l1_entries} * 8);
    }
    add(header_.snapshots_offset, snapshot_table_bytes);
    const bool has_bitmaps =
        header_.bitmap_count > 0 && (header_.autoclear_features & kAutoclearBitmaps) != 0;
    if (has_bitmaps) add(header_.bitmap_directory_offset, header_.bitmap_directory_size);
    for (const uint64_t entry : map_->l1()) {
        const uint64_t table = Qcow2ClusterMap::table_offset(entry);
        if (table == 0) continue;
        if (table % header_.cluster_size() != 0 ||
            !range_fits(table, header_.cluster_size(), file_->size())) {
            corrupt_metadata("an L2 table is said to be at " + std::to_string(table));
        }
        add(table, 1);
    }
    if (!metadata_.seal()) corrupt_metadata("two of its tables overlap");

    uint64_t kept = 0;
    if (has_bitmaps) {
        kept |= kAutoclearBitmaps;
        if (mark_bitmaps_in_use(*file_, header_, false)) flush_files();
    }
    if (header_.raw_external_data()) kept |= kAutoclearRawDataFile;
    if ((header_.autoclear_features & ~kept) != 0) {
        header_.autoclear_features &= kept;
        write_header();
        flush_files();
    }
    refcounts_ = std::move(refcounts);
}

// Called where every entry in memory is as it is to be.
void Qcow2Device::make_room() {
    if (map_->crowded() || refcounts_->many_frees()) sync();
    refcounts_->trim();
}

void Qcow2Device::flush_files() {
    try {
        if (data_file_) data_file_->flush();
        file_->flush();
    } catch (...) {
        // What was not written may be forgotten by now, so trying again would prove nothing.
        failed_ = true;
        throw;
    }
}

void Qcow2Device::publish_refcounts() {
    refcounts_->write_blocks();
    flush_files();
    if (refcounts_->table_dirty()) {
        refcounts_->publish_table([this] { write_header(); });
        flush_files();
    }
}

void Qcow2Device::sync() {
    if (failed_) begin_change();  // throws
    if (map_->dirty() || refcounts_->table_dirty()) {
        // Data and refcounts before what refers to them...
        if (barrier_needed_ || refcounts_->table_dirty()) publish_refcounts();
        map_->write_back();
    }
    flush_files();
    barrier_needed_ = false;
    // ... and what referred to clusters before they are free.
    refcounts_->apply_frees([this](ClusterRun run) { give_back(run); });
    refcounts_->write_blocks();
}

void Qcow2Device::flush() {
    if (refcounts_) sync();
}

void Qcow2Device::write_header() {
    Header raw;
    std::memcpy(&raw, header_.sector.data(), sizeof raw);
    raw.size = header_.size;
    raw.l1_entries = header_.l1_entries;
    raw.l1_offset = header_.l1_offset;
    raw.refcount_table_offset = header_.refcount_table_offset;
    raw.refcount_table_clusters = header_.refcount_table_clusters;
    if (header_.version >= 3) raw.autoclear_features = header_.autoclear_features;
    std::memcpy(header_.sector.data(), &raw, sizeof raw);
    file_->write(0, header_.sector);
}

// Nothing on disk refers to these clusters any more.
void Qcow2Device::give_back(ClusterRun run) {
    for (uint64_t cluster = run.first; cluster < run.first + run.count; ++cluster) {
        if (!metadata_.contains(cluster)) continue;
        map_->forget(cluster << header_.cluster_bits, header_.cluster_size());
        metadata_.remove(cluster);
    }
    const uint64_t begin = run.first << header_.cluster_bits;
    const uint64_t end = (run.first + run.count) << header_.cluster_bits;
    if (compressed_end_ >= begin && compressed_end_ < end) compressed_end_ = 0;
    if (decompressed_host_ >= begin && decompressed_host_ < end) decompressed_host_ = ~uint64_t{0};
    const uint64_t present = std::min(end, file_->size());
    if (begin < present) file_->discard(begin, present - begin);
}

void Qcow2Device::free_entry(const L2Entry& entry) {
    if (!entry.has_host || data_file_) return;
    uint64_t first, count;
    map_->host_clusters(entry, first, count);
    free_data({first, count});
}

// An entry that says that its data is where a table is must not get the table freed.
void Qcow2Device::free_data(ClusterRun run) {
    for (uint64_t cluster = run.first; cluster < run.first + run.count; ++cluster) {
        if (metadata_.contains(cluster)) {
            corrupt_metadata("an L2 entry takes the table at " +
                             std::to_string(cluster << header_.cluster_bits) + " for data");
        }
    }
    refcounts_->free_later(run.first, run.count);
}

// Makes the L2 table that maps the cluster exist and be of the active L1 table only.
void Qcow2Device::ensure_l2(uint64_t cluster) {
    const uint64_t index = map_->l1_index(cluster);
    const uint64_t entry = map_->l1()[index];
    const uint64_t table = Qcow2ClusterMap::table_offset(entry);
    if (table != 0 && (entry & kCopied) != 0) {
        if (refcounts_->get(table >> header_.cluster_bits) != 1) {
            corrupt_metadata("the L2 table at " + std::to_string(table) + " has a wrong refcount");
        }
        return;
    }
    const auto place = refcounts_->allocate(1, 1);
    const uint64_t offset = place.first << header_.cluster_bits;
    const uint64_t cluster_size = header_.cluster_size();
    try {
        map_->forget(offset, cluster_size);
        if (table != 0) {
            cluster_buffer_.resize(cluster_size);
            file_->read(table, cluster_buffer_);
            file_->write(offset, cluster_buffer_);
        } else if (!place.zeroed) {
            file_->write_zeroes(offset, cluster_size, false);
        }
    } catch (...) {
        refcounts_->undo(place.first, 1);
        throw;
    }
    metadata_.add(place.first);
    map_->set_l1(index, offset | kCopied);
    barrier_needed_ = true;
    if (table != 0) refcounts_->free_later(table >> header_.cluster_bits, 1);
}

// Data is about to be written over these clusters of the file.
void Qcow2Device::require_exclusive(uint64_t host, uint64_t clusters) {
    const uint64_t first = host >> header_.cluster_bits;
    for (uint64_t cluster = first; cluster < first + clusters; ++cluster) {
        if (metadata_.contains(cluster) || refcounts_->get(cluster) != 1) {
            corrupt_metadata("the cluster at " + std::to_string(cluster << header_.cluster_bits) +
                             " is said to be one cluster's data alone, which it is not");
        }
    }
}

void Qcow2Device::extend_data(uint64_t end) {
    if (end <= data().size()) return;
    try {
        data().resize(end);
    } catch (const Error& error) {
        if (error.kind() != ErrorKind::kUnsupported) throw;
        throw Error(ErrorKind::kNoSpace, "the device that holds the qcow2 image's data is full: " +
                                             std::to_string(end) + " bytes would be needed");
    }
}

void Qcow2Device::write(uint64_t offset, std::span<const std::byte> in) {
    const iovec piece = to_iovec(in);
    writev(offset, {&piece, 1});
}

void Qcow2Device::writev(uint64_t offset, std::span<const iovec> in) {
    const uint64_t total = iovec_bytes(in);
    require_writable();
    require_range(offset, total);
    if (total == 0) return;
    begin_change();
    IovecCursor cursor(in);
    for (const uint64_t end = offset + total; offset < end;) {
        make_room();
        offset += write_some(offset, end, cursor);
    }
}

// Writes some bytes from the start of [offset, end): as many as can be written in one way.
uint64_t Qcow2Device::write_some(uint64_t offset, uint64_t end, IovecCursor& in) {
    const uint64_t cluster = offset >> header_.cluster_bits;
    const uint64_t start = cluster << header_.cluster_bits;
    const uint64_t cluster_size = header_.cluster_size();
    ensure_l2(cluster);
    uint64_t host;
    if (const uint64_t length = in_place_length(offset, end, host); length > 0) {
        write_pieces(host, length, in);
        return length;
    }
    if (offset == start && end - offset >= cluster_size) {
        const uint64_t most =
            std::min({(end - offset) >> header_.cluster_bits, map_->l2_entries() - map_->l2_index(cluster),
                      std::max<uint64_t>(1, kMaxRunBytes >> header_.cluster_bits)});
        uint64_t count = 0;
        while (count < most && !map_->entry(cluster + count).writable()) ++count;
        if (count > 0) return write_clusters(cluster, count, in) << header_.cluster_bits;
    }
    const uint64_t stop = std::min(end, start + cluster_size);
    write_in_cluster(cluster, offset - start, stop - start, in);
    return stop - offset;
}

// How much from `offset` on can be written where it is, without any change of metadata. 0: nothing.
uint64_t Qcow2Device::in_place_length(uint64_t offset, uint64_t end, uint64_t& host) {
    const uint64_t cluster = offset >> header_.cluster_bits;
    const uint64_t table_end = (cluster - map_->l2_index(cluster) + map_->l2_entries())
                               << header_.cluster_bits;
    const Run run = map_->find(offset, std::min(end, table_end));
    if (run.kind != Kind::kData) return 0;
    uint64_t covered = 0, clusters = 0;
    while (covered < run.length && map_->entry(cluster + clusters).writable()) {
        ++clusters;
        covered = ((cluster + clusters) << header_.cluster_bits) - offset;
    }
    covered = std::min(covered, run.length);
    if (covered == 0) return 0;
    host = run.host;
    if (!data_file_) {
        require_exclusive(host, clusters);
        if (align_down(host, header_.cluster_size()) >= file_->size()) {
            corrupt_metadata("the cluster at " + std::to_string(host) + " is outside of the file");
        }
    }
    extend_data(host + covered);
    return covered;
}

void Qcow2Device::write_pieces(uint64_t host, uint64_t length, IovecCursor& in) {
    while (length > 0) {
        uint64_t taken;
        const auto part = in.take(length, taken);
        data().writev(host, part);
        host += taken;
        length -= taken;
    }
}

// Writes whole clusters, of which none can be written in place, to a new place. Returns how many.
uint64_t Qcow2Device::write_clusters(uint64_t cluster, uint64_t count, IovecCursor& in) {
    uint64_t host = cluster << header_.cluster_bits;
    if (data_file_) {
        extend_data(host + (count << header_.cluster_bits));
        write_pieces(host, count << header_.cluster_bits, in);
    } else {
        const auto place = refcounts_->allocate(1, count);
        count = place.count;
        host = place.first << header_.cluster_bits;
        try {
            write_pieces(host, count << header_.cluster_bits, in);
        } catch (...) {
            refcounts_->undo(place.first, place.count);
            throw;
        }
    }
    barrier_needed_ = true;
    L2Entry entry;
    entry.has_host = entry.exclusive = true;
    entry.data = map_->all_units();
    for (uint64_t i = 0; i < count; ++i) {
        const L2Entry old = map_->entry(cluster + i);
        entry.host = host + (i << header_.cluster_bits);
        map_->set_entry(cluster + i, entry);
        free_entry(old);
    }
    return count;
}

// The disk's contents; zeros beyond its end.
void Qcow2Device::read_old(uint64_t offset, std::span<std::byte> out) {
    const uint64_t present = offset < size_ ? std::min<uint64_t>(out.size(), size_ - offset) : 0;
    read(offset < size_ ? offset : size_, out.first(present));
    std::fill(out.begin() + static_cast<std::ptrdiff_t>(present), out.end(), std::byte{0});
}

// Writes bytes [begin, end) of one cluster, with whatever of the old contents has to come along: what the
// written units have besides, and, if the cluster gets a new place, the units that have data.
void Qcow2Device::write_in_cluster(uint64_t cluster, uint64_t begin, uint64_t end, IovecCursor& in) {
    const L2Entry old = map_->entry(cluster);
    const bool keep = old.writable();
    const uint64_t start = cluster << header_.cluster_bits;
    const uint64_t unit_size = map_->unit_size();
    uint32_t written = keep ? 0 : old.data;
    for (uint64_t unit = begin / unit_size; unit <= (end - 1) / unit_size; ++unit) written |= 1u << unit;

    Qcow2Refcounts::Allocation place{};
    uint64_t host = keep ? old.host : start;
    if (!data_file_) {
        if (keep) {
            require_exclusive(host, 1);
            if (host >= file_->size()) {
                corrupt_metadata("the cluster at " + std::to_string(host) + " is outside of the file");
            }
        } else {
            place = refcounts_->allocate(1, 1);
            host = place.first << header_.cluster_bits;
        }
    }
    const uint64_t limit =
        data_file_ ? std::min(header_.cluster_size(), size_ - start) : header_.cluster_size();

    try {
        struct Range {
            uint64_t begin, end;
        };
        std::vector<Range> ranges;  // of the cluster, to be filled from the old contents; then to be written
        const auto add = [&ranges](uint64_t from, uint64_t to) {
            if (from >= to) return;
            if (!ranges.empty() && ranges.back().end == from) {
                ranges.back().end = to;
            } else {
                ranges.push_back({from, to});
            }
        };
        for (uint32_t unit = 0; unit < map_->units(); ++unit) {
            if ((written >> unit & 1) == 0 || (keep && (old.data >> unit & 1) != 0)) continue;
            const uint64_t from = unit * unit_size, to = std::min(from + unit_size, limit);
            add(from, std::min(to, begin));
            add(std::max(from, end), to);
        }
        if (place.zeroed) {  // then zeros are there already
            std::erase_if(ranges, [&](const Range& range) {
                const Run run = map_->find(start + range.begin, start + range.end);
                return run.length == range.end - range.begin && reads_as_zeros(run, start + range.begin);
            });
        }
        extend_data(host + std::max(end, ranges.empty() ? 0 : ranges.back().end));
        if (ranges.empty()) {
            write_pieces(host + begin, end - begin, in);
        } else {
            cluster_buffer_.resize(header_.cluster_size());
            const std::span<std::byte> buffer(cluster_buffer_);
            for (const Range& range : ranges) {
                read_old(start + range.begin, buffer.subspan(range.begin, range.end - range.begin));
            }
            for (uint64_t at = begin; at < end;) {
                uint64_t taken;
                for (const iovec& piece : in.take(end - at, taken)) {
                    std::memcpy(buffer.data() + at, piece.iov_base, piece.iov_len);
                    at += piece.iov_len;
                }
            }
            ranges.push_back({begin, end});
            std::sort(ranges.begin(), ranges.end(),
                      [](const Range& a, const Range& b) { return a.begin < b.begin; });
            const std::vector<Range> apart = std::exchange(ranges, {});
            for (const Range& range : apart) add(range.begin, range.end);
            for (const Range& range : ranges) {
                data().write(host + range.begin, buffer.subspan(range.begin, range.end - range.begin));
            }
        }
    } catch (...) {
        if (place.count > 0) refcounts_->undo(place.first, 1);
        throw;
    }

    L2Entry entry = old;
    if (!keep) {
        entry = {};
        entry.zero = old.zero;
        entry.host = host;
        entry.has_host = entry.exclusive = true;
    }
    entry.data |= written;
    entry.zero &= ~written;
    barrier_needed_ = true;
    if (!(entry == old)) map_->set_entry(cluster, entry);
    if (!keep) free_entry(old);
}

// Finds room for a compressed cluster: behind the one before, if there is room or the next cluster is free.
uint64_t Qcow2Device::place_compressed(uint64_t length) {
    const uint64_t cluster_size = header_.cluster_size();
    const uint64_t used = compressed_end_ & (cluster_size - 1);
    const uint64_t tail = compressed_end_ >> header_.cluster_bits;
    uint64_t host = compressed_end_;
    const bool shared = used != 0 && refcounts_->get(tail) < refcounts_->max() &&
                        (used + length <= cluster_size || refcounts_->allocate_at(tail + 1));
    if (shared) {
        refcounts_->increase(tail);
    } else {
        host = refcounts_->allocate(1, 1).first << header_.cluster_bits;
    }
    compressed_end_ = host + length;
    return host;
}

void Qcow2Device::write_compressed(uint64_t offset, std::span<const std::byte> in) {
    require_writable();
    require_range(offset, in.size());
    const uint64_t cluster_size = header_.cluster_size();
    if (offset % cluster_size != 0 || in.empty() || in.size() != std::min(cluster_size, size_ - offset)) {
        throw Error(ErrorKind::kUsage, "compressed clusters are written one by one");
    }
    if (data_file_) {
        throw Error(ErrorKind::kUnsupported, "a qcow2 image with a data file can't have compressed clusters");
    }
    if (std::all_of(in.begin(), in.end(), [](std::byte b) { return b == std::byte{0}; })) {
        write_zeroes(offset, in.size(), true);
        return;
    }
    std::vector<std::byte> whole(cluster_size), out(cluster_size - 1);
    std::copy(in.begin(), in.end(), whole.begin());
    const size_t length = compress_cluster(header_.compression, whole, out);
    if (length == 0) {
        write(offset, in);
        return;
    }
    begin_change();
    make_room();
    const uint64_t cluster = offset >> header_.cluster_bits;
    ensure_l2(cluster);
    L2Entry entry;
    entry.host = place_compressed(length);
    entry.has_host = entry.compressed = true;
    entry.compressed_bytes = static_cast<uint32_t>(length);
    uint64_t first, count;
    map_->host_clusters(entry, first, count);
    if (entry.host + length >= uint64_t{1} << (62 - (header_.cluster_bits - 8))) {  // no entry can say this
        refcounts_->undo(first, count);
        compressed_end_ = 0;
        write(offset, in);
        return;
    }
    try {
        file_->write(entry.host, std::span(out).first(length));
    } catch (...) {
        refcounts_->undo(first, count);
        compressed_end_ = 0;
        throw;
    }
    barrier_needed_ = true;
    const L2Entry old = map_->entry(cluster);
    map_->set_entry(cluster, entry);
    free_entry(old);
}

void Qcow2Device::preallocate() {
    require_writable();
    if (backing_) {
        throw Error(ErrorKind::kUnsupported, "a qcow2 image with a backing file can't be preallocated");
    }
    begin_change();
    const uint64_t clusters = (size_ + header_.cluster_size() - 1) >> header_.cluster_bits;
    for (uint64_t cluster = 0; cluster < clusters;) {
        make_room();
        ensure_l2(cluster);
        const uint64_t most = std::min(clusters - cluster, map_->l2_entries() - map_->l2_index(cluster));
        uint64_t count = 0;
        while (count < most && map_->entry(cluster + count) == L2Entry{}) ++count;
        if (count == 0) {
            ++cluster;
            continue;
        }
        uint64_t host = cluster << header_.cluster_bits;
        if (data_file_) {
            const uint64_t end = std::min(size_, host + (count << header_.cluster_bits));
            extend_data(end);
            data_file_->write_zeroes(host, end - host, true);
        } else {
            const auto place = refcounts_->allocate(1, count);
            count = place.count;
            host = place.first << header_.cluster_bits;
            if (!place.zeroed) file_->write_zeroes(host, count << header_.cluster_bits, true);
        }
        barrier_needed_ = true;
        for (uint64_t i = 0; i < count; ++i) {
            L2Entry entry;
            entry.host = host + (i << header_.cluster_bits);
            entry.has_host = entry.exclusive = true;
            entry.data = map_->all_units();
            map_->set_entry(cluster + i, entry);
        }
        cluster += count;
    }
}

}  // namespace inspect
