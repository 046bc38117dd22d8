// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Qcow2Device: the disk that is in a qcow2 image. Why it is as it is: docs/qcow2.md.
//
// The device opens no file: it stands on devices that the caller has opened, after having read in the header
// (block/qcow2/header.h) what there is to open and decided whether it may be. All that is read from them is
// checked before use; what makes no sense is Error(kCorrupt), never followed.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "block/block_device.h"
#include "block/iovec.h"
#include "block/qcow2/bitmaps.h"
#include "block/qcow2/cluster_map.h"
#include "block/qcow2/header.h"
#include "block/qcow2/metadata_map.h"
#include "block/qcow2/refcounts.h"
#include "block/qcow2/snapshots.h"

namespace inspect {

struct Qcow2Files {
    std::unique_ptr<BlockDevice> file;       // the image; grows by resize() when it is written
    std::unique_ptr<BlockDevice> backing;    // of any size and kind; null if the header names none
    std::unique_ptr<BlockDevice> data_file;  // if and only if header.external_data()
};

struct Qcow2Options {
    bool read_only = true;
    // Show the disk as it was in this internal snapshot (id, else name). Read-only.
    std::optional<std::string> snapshot = {};
};

// Thread-safety and durability are BlockDevice's: reads may run concurrently. Until flush() returns a crash
// may keep or lose any write, but leaves an image that is sound (clusters may be leaked). The destructor does
// what flush() does, but can't tell of errors: call flush() first.
class Qcow2Device final : public BlockDevice {
  public:
    // `header` is what Qcow2Header::parse(*files.file) has returned. Reads nothing but the snapshot table, if
    // a snapshot is wanted. Throws Error(kUnsupported) when the image can be read but not written, with the
    // reason; kCorrupt when it is marked so; kUsage when `files` is not what the header asks for; kNotFound
    // when there is no such snapshot.
    Qcow2Device(Qcow2Header header, Qcow2Files files, const Qcow2Options& options);
    ~Qcow2Device() override;

    const Qcow2Header& header() const noexcept { return header_; }
    std::vector<Qcow2Snapshot> snapshots() { return read_snapshots(*file_, header_); }
    std::vector<Qcow2Bitmap> bitmaps() { return read_bitmaps(*file_, header_); }
    void for_each_dirty_range(const Qcow2Bitmap& bitmap,
                              const std::function<void(uint64_t offset, uint64_t length)>& visit) {
        inspect::for_each_dirty_range(*file_, header_, bitmap, visit);
    }

    uint64_t size() const noexcept override { return size_; }
    bool read_only() const noexcept override { return read_only_; }
    void read(uint64_t offset, std::span<std::byte> out) override;
    void write(uint64_t offset, std::span<const std::byte> in) override;
    void readv(uint64_t offset, std::span<const iovec> out) override;
    void writev(uint64_t offset, std::span<const iovec> in) override;
    void flush() override;
    // Whole clusters read as zeros afterwards; the rest of the range keeps what it has. Does nothing where
    // zeros can't be said for free (version 2 with a backing file).
    void discard(uint64_t offset, uint64_t length) override;
    void write_zeroes(uint64_t offset, uint64_t length, bool may_unmap) override;
    // Shrinking gives clusters back. Throws Error(kUnsupported) for what the format can't: a version 2 image
    // with snapshots; more than its L1 table can be made to map.
    void resize(uint64_t size) override;
    // Through the whole chain: kHole where no image has anything.
    std::vector<Extent> extents(uint64_t offset, uint64_t length) override;

    // Writes one cluster compressed, if that makes it smaller, else as write() would. `offset` is a multiple
    // of the cluster size, `in` a cluster, or what of the last one is within the disk. Compressed clusters
    // lie one behind the other in the file: write them in ascending order. Error(kUnsupported) with a data
    // file.
    void write_compressed(uint64_t offset, std::span<const std::byte> in);
    // Visits, with their place in the file, the clusters that lie within [offset, offset + length) of the
    // disk and are written where they are: not compressed, and nothing else refers to them.
    void for_each_own_cluster(uint64_t offset, uint64_t length,
                              const std::function<void(uint64_t offset, uint64_t length)>& visit);
    // Gives every cluster that is unallocated its place in the file, so that writing it changes no metadata.
    // It reads as zeros. Error(kUnsupported) with a backing file.
    void preallocate();

  private:
    using Run = Qcow2ClusterMap::Run;
    using Kind = Qcow2ClusterMap::Kind;

    // Reading (read.cc)
    void read_run(const Run& run, uint64_t offset, uint64_t skip, std::span<const iovec> out);
    void read_data(uint64_t host, std::span<const iovec> out);
    void read_backing(uint64_t offset, std::span<const iovec> out);
    std::shared_ptr<const std::vector<std::byte>> decompressed(const Run& run);
    bool reads_as_zeros(const Run& run, uint64_t offset) const noexcept;

    // Writing (write.cc)
    void begin_change();
    void make_room();
    void sync();
    void publish_refcounts();
    void flush_files();
    void write_header();
    void give_back(ClusterRun run);
    void free_entry(const L2Entry& entry);
    void free_data(ClusterRun run);
    void ensure_l2(uint64_t cluster);
    void require_exclusive(uint64_t host, uint64_t clusters);
    BlockDevice& data() noexcept { return data_file_ ? *data_file_ : *file_; }
    uint64_t write_some(uint64_t offset, uint64_t end, IovecCursor& in);
    uint64_t in_place_length(uint64_t offset, uint64_t end, uint64_t& host);
    uint64_t write_clusters(uint64_t cluster, uint64_t count, IovecCursor& in);
    void write_in_cluster(uint64_t cluster, uint64_t begin, uint64_t end, IovecCursor& in);
    void write_pieces(uint64_t host, uint64_t length, IovecCursor& in);
    void read_old(uint64_t offset, std::span<std::byte> out);
    void extend_data(uint64_t end);
    uint64_t place_compressed(uint64_t length);

    // Zeros, discarding (zeroes.cc)
    void zero_by_writing(uint64_t offset, uint64_t end);
    void zero_units(uint64_t cluster, uint32_t mask, bool may_unmap);
    uint64_t zero_in_cluster(uint64_t offset, uint64_t end, bool may_unmap);

    // Resizing (resize.cc)
    void grow(uint64_t size);
    void shrink(uint64_t size);
    void drop_l2(uint64_t l1_index);
    void grow_l1(uint64_t entries);

    Qcow2Header header_;
    std::unique_ptr<BlockDevice> file_;
    std::unique_ptr<BlockDevice> backing_;
    std::unique_ptr<BlockDevice> data_file_;
    bool read_only_;
    uint64_t size_;
    uint64_t backing_size_;  // 0 without one
    std::unique_ptr<Qcow2ClusterMap> map_;

    // Of a compressed image the cluster that was read last is likely to be read from next.
    std::mutex decompressed_mutex_;
    uint64_t decompressed_host_ = ~uint64_t{0};
    std::shared_ptr<const std::vector<std::byte>> decompressed_;

    // Since the first change:
    MetadataMap metadata_;
    std::unique_ptr<Qcow2Refcounts> refcounts_;
    bool barrier_needed_ = false;  // data was written that entries in memory, not yet on disk, refer to
    bool failed_ = false;          // a flush failed: what is on disk is not known any more
    uint64_t compressed_end_ = 0;  // where the next compressed cluster may begin; 0: in a new cluster
    std::vector<std::byte> cluster_buffer_;
};

}  // namespace inspect
