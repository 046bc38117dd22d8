// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Growing and shrinking the disk of a qcow2 image. The new size is published last, by one write of one
// sector.
#include <algorithm>
#include <string>

#include <inspect/error.h>

#include "base/checked.h"
#include "block/qcow2/qcow2.h"

namespace inspect {

using namespace qcow2_format;

void Qcow2Device::resize(uint64_t size) {
    require_writable();
    if (size == 0 || size % 512 != 0) {
        throw Error(ErrorKind::kUsage, "a qcow2 disk can't have a size of " + std::to_string(size) +
                                           " bytes: it must be a multiple of 512, and not 0");
    }
    if (header_.version < 3 && header_.snapshot_count > 0) {
        throw Error(ErrorKind::kUnsupported,
                    "a qcow2 image of version 2 that has snapshots can't be resized: the snapshots would not "
                    "know their size. `qemu-img amend -o compat=1.1` makes it a version 3 image");
    }
    if (size > uint64_t{INT64_MAX} || header_.l1_entries_for(size) * 8 > kMaxL1Bytes) {
        throw Error(ErrorKind::kUnsupported,
                    "a qcow2 image with clusters of " + std::to_string(header_.cluster_size()) +
                        " bytes can't have a disk of " + std::to_string(size) + " bytes");
    }
    if (size == size_) return;
    begin_change();
    if ((header_.autoclear_features & kAutoclearBitmaps) != 0 && mark_bitmaps_in_use(*file_, header_, true)) {
        flush_files();  // no bitmap has this many bits
    }
    if (size > size_) {
        grow(size);
    } else {
        shrink(size);
    }
}

void Qcow2Device::grow(uint64_t size) {
    const uint64_t entries = header_.l1_entries_for(size);
    if (entries > header_.l1_entries) grow_l1(entries);
    const uint64_t old_size = size_;
    size_ = size;
    try {
        // Neither what is left in the last cluster nor the backing file may come to light.
        const uint64_t tail = std::min(align_up(old_size, header_.cluster_size()), size);
        zero_by_writing(old_size, tail);
        if (backing_size_ > tail) write_zeroes(tail, std::min(size, backing_size_) - tail, true);
        if (header_.raw_external_data()) {
            const uint64_t present = std::min(data_file_->size(), size);
            if (present > old_size) data_file_->write_zeroes(old_size, present - old_size, true);
            extend_data(size);
        }
        sync();
        header_.size = size;
        write_header();
        flush_files();
    } catch (...) {
        header_.size = size_ = old_size;
        throw;
    }
}

void Qcow2Device::shrink(uint64_t size) {
    const uint64_t cluster_size = header_.cluster_size();
    const uint64_t tail = std::min(align_up(size, cluster_size), size_);
    zero_by_writing(size, tail);
    uint64_t cluster = align_up(size, cluster_size) >> header_.cluster_bits;
    for (uint64_t index = map_->l1_index(cluster); index < map_->l1().size(); ++index) {
        if (Qcow2ClusterMap::table_offset(map_->l1()[index]) == 0) continue;
        const uint64_t first = index * map_->l2_entries(), end = first + map_->l2_entries();
        if (first >= cluster) {
            make_room();
            drop_l2(index);
            continue;
        }
        for (; cluster < end; ++cluster) {
            make_room();
            const L2Entry old = map_->entry(cluster);
            if (old == L2Entry{}) continue;
            ensure_l2(cluster);
            map_->set_entry(cluster, {});
            free_entry(old);
        }
    }
    sync();
    header_.size = size;
    write_header();
    flush_files();
    size_ = size;
    if (header_.raw_external_data() && data_file_->size() > size) data_file_->resize(size);
}

// Gives up an L2 table and all that it maps. The L1 entry goes first: from then on a sync() may come at any
// time.
void Qcow2Device::drop_l2(uint64_t l1_index) {
    const uint64_t first = l1_index * map_->l2_entries();
    std::vector<ClusterRun> runs;
    for (uint64_t i = 0; i < map_->l2_entries(); ++i) {
        const L2Entry entry = map_->entry(first + i);
        if (!entry.has_host || data_file_) continue;
        ClusterRun run;
        map_->host_clusters(entry, run.first, run.count);
        if (!runs.empty() && runs.back().first + runs.back().count == run.first) {
            runs.back().count += run.count;
        } else {
            runs.push_back(run);
        }
    }
    const uint64_t table = Qcow2ClusterMap::table_offset(map_->l1()[l1_index]);
    map_->set_l1(l1_index, 0);
    map_->forget(table, header_.cluster_size());
    refcounts_->free_later(table >> header_.cluster_bits, 1);
    for (const ClusterRun& run : runs) free_data(run);
}

void Qcow2Device::grow_l1(uint64_t entries) {
    sync();  // so that the table on disk is the one in memory
    const uint64_t clusters = align_up(entries * 8, header_.cluster_size()) >> header_.cluster_bits;
    const auto place = refcounts_->allocate(clusters, clusters);
    const uint64_t offset = place.first << header_.cluster_bits;
    const uint64_t old_first = header_.l1_offset >> header_.cluster_bits;
    const uint64_t old_bytes = uint64_t{header_.l1_entries} * 8;
    std::vector<uint64_t> table = map_->l1();
    table.resize(entries);
    try {
        std::vector<be64> raw(clusters << header_.cluster_bits >> 3, be64(0));
        std::copy(table.begin(), table.end(), raw.begin());
        file_->write(offset, std::as_bytes(std::span(raw)));
        publish_refcounts();
    } catch (...) {
        refcounts_->undo(place.first, place.count);
        throw;
    }
    for (uint64_t i = 0; i < clusters; ++i) metadata_.add(place.first + i);
    header_.l1_offset = offset;
    header_.l1_entries = static_cast<uint32_t>(entries);
    map_->move_l1(offset, std::move(table));
    write_header();
    flush_files();
    if (old_bytes > 0) {
        refcounts_->free_later(old_first, (old_bytes + header_.cluster_size() - 1) >> header_.cluster_bits);
    }
}

}  // namespace inspect
