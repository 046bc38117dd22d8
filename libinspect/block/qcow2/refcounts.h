// SPDX-License-Identifier: LGPL-2.1-or-later
//
// The refcounts of an image file's clusters, and the allocation of clusters by them.
//
// Nothing here decides when something is written; the device does, in this order (docs/qcow2.md):
// write_blocks(), flush, publish_table() (if it says so, flush), then what refers to the clusters, flush,
// then apply_frees(). A cluster that is given up stays allocated until then: an image that is found after a
// crash may refer to it.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "block/block_device.h"
#include "block/qcow2/header.h"
#include "block/qcow2/metadata_map.h"
#include "block/qcow2/slice_cache.h"

namespace inspect {

// A run of clusters of the image file.
struct ClusterRun {
    uint64_t first;
    uint64_t count;
};

// Not thread-safe.
class Qcow2Refcounts {
  public:
    // Reads the refcount table. All three must outlive this; `header`'s fields about the refcount table are
    // kept up to date. Throws Error(kCorrupt) when the table can't be right.
    Qcow2Refcounts(BlockDevice& file, Qcow2Header& header, MetadataMap& metadata);

    // The clusters of the refcount table and of its blocks.
    void list_metadata(const std::function<void(ClusterRun)>& visit) const;

    uint64_t max() const noexcept { return max_; }
    uint64_t get(uint64_t cluster);

    struct Allocation {
        uint64_t first;  // cluster
        uint64_t count;
        bool zeroed;  // the file is known to have zeros there
    };
    // Takes the first `most` free clusters in a row that are found, or fewer, but not less than `least`;
    // their refcount is 1 now, and the file is long enough for them. Throws Error(kNoSpace); Error(kCorrupt)
    // when clusters that are said to be free hold metadata.
    Allocation allocate(uint64_t least, uint64_t most);
    // The same for one cluster, which must be this one. False when it isn't free.
    bool allocate_at(uint64_t cluster);
    // One more reference to an allocated cluster; its refcount must be less than max().
    void increase(uint64_t cluster);
    // Undoes an allocation of clusters that nothing was made to refer to.
    void undo(uint64_t first, uint64_t count);
    // One reference less to each, from apply_frees() on. Throws Error(kCorrupt) when one is free already.
    void free_later(uint64_t first, uint64_t count);
    bool many_frees() const noexcept { return frees_.size() >= kManyFrees; }

    // There is something to write or to free.
    bool changed() const noexcept { return cache_.dirty() > 0 || table_dirty() || !frees_.empty(); }
    bool table_dirty() const noexcept { return !dirty_table_sectors_.empty() || table_moves_; }
    // Writes refcount blocks out when too many of them wait in memory. Harmless at any time.
    void trim() {
        if (cache_.crowded()) cache_.write_back();
    }
    // Writes the blocks, and a new table if the old one is too small. Nothing on disk refers to what is new.
    void write_blocks();
    // Makes the refcount table on disk refer to new blocks, or the header to a new table. What was written
    // before must have been flushed. `write_header` writes the header's first sector.
    void publish_table(const std::function<void()>& write_header);
    // Takes the references away that free_later() named. What referred to them must be gone on disk.
    // `freed` is called with the clusters that nothing refers to any more. The changed blocks are not
    // written.
    void apply_frees(const std::function<void(ClusterRun)>& freed);

  private:
    static constexpr size_t kManyFrees = 1 << 16;

    uint64_t block_of(uint64_t cluster) const noexcept { return cluster >> block_bits_; }
    bool has_block(uint64_t block) const noexcept { return block < table_.size() && table_[block] != 0; }
    void set(uint64_t cluster, uint64_t value);
    uint64_t slice_of(uint64_t cluster, uint64_t& index) const;
    uint64_t find_free(uint64_t from, uint64_t least, uint64_t most, uint64_t& count);
    void make_block(uint64_t block, uint64_t after);
    void put_block(uint64_t block, uint64_t cluster);
    void require_no_metadata(uint64_t first, uint64_t count) const;
    void extend_file(uint64_t end_cluster);
    void make_room_in_table();

    BlockDevice& file_;
    Qcow2Header& header_;
    MetadataMap& metadata_;
    SliceCache cache_;
    uint32_t order_;
    uint32_t block_bits_;  // a refcount block has 1 << block_bits_ entries
    uint64_t max_;
    std::vector<uint64_t> table_;  // offsets of the blocks; as long as it needs to be
    std::vector<uint64_t> dirty_table_sectors_;
    bool table_moves_ = false;  // to the place in header_, which is not yet on disk
    uint64_t hint_ = 0;         // no cluster below is free
    uint64_t fresh_from_;       // clusters from here on were never written, and are zeros
    std::vector<ClusterRun> frees_;
};

}  // namespace inspect
