// SPDX-License-Identifier: LGPL-2.1-or-later
//
// The undo journal: what an image had where it is being written directly, so that a change of more than there
// is room for twice can be taken back as a whole.
//
// It is the counterpart of the redo journal (block/journal.h) and shares its place, its name and its
// structures: version 4, docs/journal.md. Before a block of the image is overwritten for the first time, what
// it has is appended, and is durable. While the file is there, and has no mark, the change has not happened:
// whoever opens the image next puts back what is in it (undo()). The mark says that the change is complete;
// then all that is left is to cut off the image's end, if it is to be smaller, and to remove the journal.
//
// What need not be put back is not saved: what was said to be unused, and what was beyond the image's end.
// Zeros, and the holes of a sparse image, take a record without data.
#pragma once

#include <bitset>
#include <cstdint>
#include <memory>
#include <unordered_map>
#include <vector>

#include "base/range_set.h"
#include "block/block_device.h"
#include "block/journal.h"
#include "block/journal_file.h"
#include "block/recovery.h"

namespace inspect {

// Not thread-safe. All functions throw Error.
class UndoLog {
  public:
    // Makes `file`, the one beside an image that now has `image_size` bytes; durable. `holes` are parts of it
    // that are known to be zeros, in `unused` nothing has to be put back. They have no effect on blocks of
    // kBlockSize that they have but a part of.
    static void create(JournalFile& file, uint64_t image_size, const RangeSet& holes, const RangeSet& unused);

    // Goes on with one that was made, by this process or by another that is done with it. `file` is open, for
    // reading and writing, and must outlive this.
    explicit UndoLog(JournalFile& file);

    // Of the image as it was, bytes.
    uint64_t image_size() const noexcept { return image_size_; }
    // Before [offset, offset + length) of the image is changed: what it has there is saved, if it wasn't yet,
    // and durable. After this has thrown it always does.
    void save(BlockDevice& image, uint64_t offset, uint64_t length);
    // The image is complete and durable, but that it may have to be cut to `size` bytes. Durable; when this
    // throws the change will not happen, if the storage still does anything.
    void finish(uint64_t size);

  private:
    static constexpr uint64_t kBlockSize = 4096;
    static constexpr uint64_t kChunkBlocks = 32768;

    bool saved(uint64_t block) const;
    void mark_saved(uint64_t offset, uint64_t length);
    void save_range(BlockDevice& image, uint64_t offset, uint64_t length);
    void append(journal_format::Kind kind, uint64_t offset, uint64_t length, std::span<const std::byte> data);
    void sync();

    JournalFile& file_;
    uint64_t image_size_ = 0;
    uint32_t seed_ = 0;
    uint64_t end_ = 0;       // of the last record
    uint64_t unsynced_ = 0;  // bytes
    bool failed_ = false;
    // The blocks that need no saving any more, in chunks; null: all of that chunk.
    using Chunk = std::unique_ptr<std::bitset<kChunkBlocks>>;
    std::unordered_map<uint64_t, Chunk> saved_;
    std::vector<std::byte> old_, record_;
};

// What is to be done about an undo journal that was found: kDiscarded when the image has again what it had,
// kFinished when the change had been complete. Durable, but for the journal's removal, which is the caller's.
// Can be repeated any number of times. Throws Error(kCorrupt), with the image untouched, when the journal is
// damaged or the image is not the one that it was made for.
Recovery undo(BlockDevice& image, JournalFile& file);

}  // namespace inspect
