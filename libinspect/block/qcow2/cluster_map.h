// SPDX-License-Identifier: LGPL-2.1-or-later
//
// The L1 and L2 tables of an image or of one of its snapshots: where a disk's bytes are.
//
// Everything is said in units: a subcluster where L2 entries are extended (32 of them make a cluster), else a
// whole cluster. So there is one code for both kinds of images.
#pragma once

#include <cstdint>
#include <mutex>
#include <vector>

#include "block/block_device.h"
#include "block/qcow2/header.h"
#include "block/qcow2/slice_cache.h"

namespace inspect {

// An L2 entry, decoded. A bit of `data` or `zero` is a unit of the cluster; never both. A unit that has
// neither is unallocated: what the backing file has there, or zeros.
struct L2Entry {
    uint64_t host = 0;       // where the cluster is: an offset in the file, or in the data file
    bool has_host = false;   // there is a cluster, although perhaps none of its units is in use
    bool exclusive = false;  // OFLAG_COPIED: nothing else refers to the cluster
    bool compressed = false;
    uint32_t compressed_bytes = 0;  // at most, from `host` on
    uint32_t data = 0;
    uint32_t zero = 0;

    // The cluster may be written in place.
    bool writable() const noexcept { return has_host && exclusive && !compressed; }
    bool operator==(const L2Entry&) const = default;
};

class Qcow2ClusterMap {
  public:
    enum class Kind : uint8_t { kUnallocated, kZero, kData, kCompressed };
    struct Run {
        Kind kind;
        uint64_t length;
        uint64_t host = 0;              // kData: of the run's first byte; kCompressed: of the compressed data
        uint32_t compressed_bytes = 0;  // kCompressed
    };

    // `file` and `header` must outlive this. The L1 table lies in the file; it is read when it is first
    // needed.
    Qcow2ClusterMap(BlockDevice& file, const Qcow2Header& header, uint64_t l1_offset, uint32_t l1_entries);

    uint32_t units() const noexcept { return units_; }  // in a cluster: 32 or 1
    uint64_t unit_size() const noexcept { return uint64_t{1} << unit_bits_; }
    uint32_t all_units() const noexcept { return units_ == 32 ? ~0u : 1u; }

    // What [offset, limit) of the disk begins with, as long as it is of one kind and, if kData, in one piece;
    // a kCompressed run ends with its cluster. Throws Error(kCorrupt) for entries that make no sense.
    // Thread-safe, as long as nothing is changed.
    Run find(uint64_t offset, uint64_t limit);

    // The rest is for the writer, and not thread-safe.

    const std::vector<uint64_t>& l1();
    uint64_t l2_index(uint64_t cluster) const noexcept { return cluster & (l2_entries_ - 1); }
    uint64_t l1_index(uint64_t cluster) const noexcept { return cluster >> l2_bits_; }
    uint64_t l2_entries() const noexcept { return l2_entries_; }
    static uint64_t table_offset(uint64_t l1_entry) noexcept { return l1_entry & qcow2_format::kOffsetMask; }
    // Sets an L1 entry; for a table that was not yet cached or has been forgotten.
    void set_l1(uint64_t index, uint64_t entry);
    // The L1 table is now at another place in the file, where `entries` of it are written already.
    void move_l1(uint64_t l1_offset, std::vector<uint64_t> entries);
    uint64_t l1_offset() const noexcept { return l1_offset_; }

    L2Entry entry(uint64_t cluster);
    // The L2 table must exist and be this L1 table's alone.
    void set_entry(uint64_t cluster, const L2Entry& entry);
    // The entry's clusters of the file, for kCompressed more than one: [first, first + count).
    void host_clusters(const L2Entry& entry, uint64_t& first, uint64_t& count) const noexcept;

    bool dirty() const noexcept { return cache_.dirty() > 0 || !dirty_l1_sectors_.empty(); }
    bool crowded() const noexcept { return cache_.crowded(); }
    // Writes L2 entries, then L1 entries.
    void write_back();
    void forget(uint64_t offset, uint64_t length) { cache_.forget(offset, length); }

  private:
    const std::byte* entry_bytes(uint64_t table, uint64_t index);
    L2Entry decode(const std::byte* bytes) const;
    Kind kind_of(const L2Entry& entry, uint32_t unit) const noexcept;
    void load_l1();
    uint64_t checked_table(uint64_t l1_entry) const;

    BlockDevice& file_;
    const Qcow2Header& header_;
    uint64_t l1_offset_;
    uint32_t l1_count_;
    std::vector<uint64_t> l1_;
    bool l1_loaded_ = false;
    std::vector<uint64_t> dirty_l1_sectors_;
    SliceCache cache_;
    std::mutex mutex_;
    uint32_t units_;
    uint32_t unit_bits_;
    uint32_t entry_size_;
    uint64_t l2_entries_;
    uint32_t l2_bits_;
};

}  // namespace inspect
