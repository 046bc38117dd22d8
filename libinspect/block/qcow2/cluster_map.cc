// SPDX-License-Identifier: LGPL-2.1-or-later
#include "block/qcow2/cluster_map.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <span>
#include <string>

#include <inspect/error.h>

#include "base/checked.h"
#include "base/endian.h"

namespace inspect {

using namespace qcow2_format;

namespace {

constexpr size_t kCachedTables = 16 << 20;
constexpr uint64_t kL1EntriesInSector = kHeaderSector / 8;

[[noreturn]] void corrupt_map(const std::string& what) {
    throw Error(ErrorKind::kCorrupt,
                "the qcow2 image is damaged: " + what +
                    ". `qemu-img check` tells more, `qemu-img check -r all` may repair it");
}

}  // namespace

Qcow2ClusterMap::Qcow2ClusterMap(BlockDevice& file, const Qcow2Header& header, uint64_t l1_offset,
                                 uint32_t l1_entries)
    : file_(file),
      header_(header),
      l1_offset_(l1_offset),
      l1_count_(l1_entries),
      cache_(file, std::min<uint64_t>(header.cluster_size(), 4096),
             kCachedTables / std::min<uint64_t>(header.cluster_size(), 4096)),
      units_(header.extended_l2() ? kSubclusters : 1),
      unit_bits_(header.cluster_bits - (header.extended_l2() ? 5 : 0)),
      entry_size_(header.l2_entry_size()),
      l2_entries_(header.l2_entries()),
      l2_bits_(static_cast<uint32_t>(std::countr_zero(l2_entries_))) {}

void Qcow2ClusterMap::load_l1() {
    if (l1_loaded_) return;
    std::vector<be64> raw(l1_count_);
    file_.read(l1_offset_, std::as_writable_bytes(std::span(raw)));
    l1_.assign(raw.begin(), raw.end());
    l1_loaded_ = true;
}

const std::vector<uint64_t>& Qcow2ClusterMap::l1() {
    load_l1();
    return l1_;
}

uint64_t Qcow2ClusterMap::checked_table(uint64_t l1_entry) const {
    const uint64_t table = table_offset(l1_entry);
    if (table % header_.cluster_size() != 0 || !range_fits(table, header_.cluster_size(), file_.size())) {
        corrupt_map("an L2 table is said to be at " + std::to_string(table) + ", where none can be");
    }
    return table;
}

const std::byte* Qcow2ClusterMap::entry_bytes(uint64_t table, uint64_t index) {
    const uint64_t at = index * entry_size_;
    return cache_.get(table + align_down(at, cache_.slice_size())) + at % cache_.slice_size();
}

L2Entry Qcow2ClusterMap::decode(const std::byte* bytes) const {
    be64 raw[2];
    std::memcpy(raw, bytes, entry_size_);
    const uint64_t word = raw[0];
    L2Entry entry;
    if ((word & kCompressed) != 0) {
        if (header_.external_data()) corrupt_map("it has compressed clusters and an external data file");
        const uint32_t offset_bits = 62 - (header_.cluster_bits - 8);
        entry.compressed = true;
        entry.host = word & ((uint64_t{1} << offset_bits) - 1);
        const uint64_t sectors = ((word & ~(kCompressed | kCopied)) >> offset_bits) + 1;
        entry.compressed_bytes = static_cast<uint32_t>(sectors * 512 - entry.host % 512);
        entry.has_host = true;
        entry.data = all_units();
        return entry;
    }
    entry.host = word & kOffsetMask;
    entry.exclusive = (word & kCopied) != 0;
    // In a data file a cluster may be at 0; in the file, where the header is, none is.
    entry.has_host = entry.host != 0 || (header_.external_data() && entry.exclusive);
    if (units_ == 1) {
        entry.zero = header_.version >= 3 && (word & kZero) != 0 ? 1 : 0;
        entry.data = entry.has_host && entry.zero == 0 ? 1 : 0;
    } else {
        const uint64_t bitmap = raw[1];
        entry.data = static_cast<uint32_t>(bitmap);
        entry.zero = static_cast<uint32_t>(bitmap >> 32);
        if ((entry.data & entry.zero) != 0 || (entry.data != 0 && !entry.has_host)) {
            corrupt_map("an extended L2 entry contradicts itself");
        }
    }
    if (entry.host % header_.cluster_size() != 0) {
        corrupt_map("a cluster is said to be at " + std::to_string(entry.host) + ", which is not aligned");
    }
    return entry;
}

Qcow2ClusterMap::Kind Qcow2ClusterMap::kind_of(const L2Entry& entry, uint32_t unit) const noexcept {
    if (entry.compressed) return Kind::kCompressed;
    if ((entry.data >> unit & 1) != 0) return Kind::kData;
    return (entry.zero >> unit & 1) != 0 ? Kind::kZero : Kind::kUnallocated;
}

Qcow2ClusterMap::Run Qcow2ClusterMap::find(uint64_t offset, uint64_t limit) {
    const std::lock_guard lock(mutex_);
    load_l1();
    const uint64_t cluster_size = header_.cluster_size();
    Run run{Kind::kUnallocated, 0};
    for (uint64_t at = offset; at < limit;) {
        const uint64_t cluster = at >> header_.cluster_bits;
        const uint64_t l1_at = l1_index(cluster);
        const uint64_t l1_entry = l1_at < l1_.size() ? l1_[l1_at] : 0;
        if (table_offset(l1_entry) == 0) {
            if (run.length > 0 && run.kind != Kind::kUnallocated) return run;
            const uint64_t end = std::min(limit, (l1_at + 1) << (l2_bits_ + header_.cluster_bits));
            run.length += end - at;
            at = end;
            continue;
        }
        const L2Entry entry = decode(entry_bytes(checked_table(l1_entry), l2_index(cluster)));
        const uint64_t in_cluster = at & (cluster_size - 1);
        uint32_t unit = static_cast<uint32_t>(in_cluster >> unit_bits_);
        const Kind kind = kind_of(entry, unit);
        if (run.length > 0 && kind != run.kind) return run;
        if (kind == Kind::kCompressed) {
            if (run.length > 0) return run;
            return {kind, std::min(cluster_size - in_cluster, limit - at), entry.host,
                    entry.compressed_bytes};
        }
        if (kind == Kind::kData) {
            if (run.length == 0) {
                run.host = entry.host + in_cluster;
            } else if (run.host + run.length != entry.host + in_cluster) {
                return run;
            }
        }
        do ++unit;
        while (unit < units_ && kind_of(entry, unit) == kind);
        const uint64_t end =
            std::min(limit, (cluster << header_.cluster_bits) + (uint64_t{unit} << unit_bits_));
        run.kind = kind;
        run.length += end - at;
        at = end;
        if (unit < units_) return run;
    }
    return run;
}

void Qcow2ClusterMap::set_l1(uint64_t index, uint64_t entry) {
    load_l1();
    l1_[index] = entry;
    const uint64_t sector = index / kL1EntriesInSector;
    if (std::find(dirty_l1_sectors_.begin(), dirty_l1_sectors_.end(), sector) == dirty_l1_sectors_.end()) {
        dirty_l1_sectors_.push_back(sector);
    }
}

void Qcow2ClusterMap::move_l1(uint64_t l1_offset, std::vector<uint64_t> entries) {
    l1_ = std::move(entries);
    l1_count_ = static_cast<uint32_t>(l1_.size());
    l1_offset_ = l1_offset;
    l1_loaded_ = true;
    dirty_l1_sectors_.clear();
}

L2Entry Qcow2ClusterMap::entry(uint64_t cluster) {
    load_l1();
    const uint64_t index = l1_index(cluster);
    if (index >= l1_.size() || table_offset(l1_[index]) == 0) return {};
    return decode(entry_bytes(checked_table(l1_[index]), l2_index(cluster)));
}

void Qcow2ClusterMap::set_entry(uint64_t cluster, const L2Entry& entry) {
    be64 raw[2] = {be64(0), be64(0)};
    if (entry.compressed) {
        const uint32_t offset_bits = 62 - (header_.cluster_bits - 8);
        const uint64_t sectors = (entry.host % 512 + entry.compressed_bytes + 511) / 512;
        raw[0] = kCompressed | entry.host | (sectors - 1) << offset_bits;
    } else {
        raw[0] = (entry.has_host ? entry.host : 0) | (entry.has_host && entry.exclusive ? kCopied : 0);
        if (units_ == 1) {
            if (entry.zero != 0) raw[0] = raw[0] | kZero;
        } else {
            raw[1] = uint64_t{entry.zero} << 32 | entry.data;
        }
    }
    const uint64_t table = table_offset(l1_[l1_index(cluster)]);
    const uint64_t at = l2_index(cluster) * entry_size_;
    std::byte* slice = cache_.get_dirty(table + align_down(at, cache_.slice_size()));
    std::memcpy(slice + at % cache_.slice_size(), raw, entry_size_);
}

void Qcow2ClusterMap::host_clusters(const L2Entry& entry, uint64_t& first, uint64_t& count) const noexcept {
    first = entry.host >> header_.cluster_bits;
    count = entry.compressed ? ((entry.host + entry.compressed_bytes - 1) >> header_.cluster_bits) - first + 1
                             : 1;
}

void Qcow2ClusterMap::write_back() {
    cache_.write_back();
    std::sort(dirty_l1_sectors_.begin(), dirty_l1_sectors_.end());
    for (const uint64_t sector : dirty_l1_sectors_) {
        const uint64_t first = sector * kL1EntriesInSector;
        const uint64_t count = std::min<uint64_t>(kL1EntriesInSector, l1_.size() - first);
        be64 raw[kL1EntriesInSector];
        std::copy_n(l1_.begin() + static_cast<std::ptrdiff_t>(first), count, raw);
        file_.write(l1_offset_ + first * 8, std::as_bytes(std::span(raw).first(count)));
    }
    dirty_l1_sectors_.clear();
}

}  // namespace inspect
