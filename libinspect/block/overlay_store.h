// SPDX-License-Identifier: LGPL-2.1-or-later
//
// OverlayStore: where the changes of a session live until they are committed or thrown away.
//
// It is two sparse files. Block i of the device (4 KiB) lives at its own offset in one or the other, so
// nothing is allocated, searched or moved, and a device of 2 TiB costs what is touched of it:
//
//   memory file (a memfd)   [0, area)        data of blocks in state kMemory; area is the size in whole
//   blocks
//                           [area, + 4 KiB)  header: magic, device size, memory limit, blocks in memory
//                           [then to end)    map: 2 bits a block, 32 blocks in a little-endian 64-bit word
//   spill file (unlinked)   [0, area)        data of blocks in state kSpill, once the memory limit is reached
//
// The header and the map are mapped shared. One process (the VMM) writes the store through an Overlay; after
// it has ended another (the library) reads what changed. The reader believes nothing: states are 2 bits,
// every range is cut to the device's size, data is read with pread, and the memory file is sealed against
// growing and shrinking, so that the writer can neither crash the reader nor lead it out of the device.
//
// Not thread-safe, except that const functions may run concurrently with each other.
#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/fd.h"

namespace inspect {

class OverlayStore {
  public:
    static constexpr uint64_t kBlockSize = 4096;
    static constexpr uint64_t kDefaultMemoryLimit = 32u << 20;

    enum class State : uint8_t { kLower = 0, kMemory = 1, kSpill = 2, kZero = 3 };

    struct Options {
        uint64_t memory_limit = kDefaultMemoryLimit;  // bytes of changed data that are kept in memory
        // Where the spill file may be: the first directory that takes it. After these, $TMPDIR, /var/tmp and
        // /tmp are tried.
        std::vector<std::string> spill_directories;
    };

    // A new, empty store for a device of `size` bytes. Throws Error; kNoSpace or kDenied when no directory
    // takes the spill file.
    static OverlayStore create(uint64_t size, const Options& options);
    // Adopts the descriptors of a store that another process created for a device of the same size.
    // Throws Error(kInternal) when they are not that.
    OverlayStore(Fd memory, Fd spill, uint64_t size);

    OverlayStore(OverlayStore&& other) noexcept;
    OverlayStore& operator=(OverlayStore&&) = delete;
    ~OverlayStore();

    uint64_t size() const noexcept { return size_; }
    int memory_fd() const noexcept { return memory_.get(); }
    int spill_fd() const noexcept { return spill_.get(); }

    // Bytes [offset, end) that are in one state; as long as possible up to `limit`. offset < limit <= size().
    struct Run {
        uint64_t offset;
        uint64_t length;
        State state;
        uint64_t end() const { return offset + length; }
    };
    Run run_at(uint64_t offset, uint64_t limit) const;

    // The first run at or after `offset` whose state is not kLower; nullopt when nothing changed from there
    // on. Fast over untouched stretches, however long.
    std::optional<Run> next_changed(uint64_t offset) const;
    bool empty() const { return !next_changed(0); }

    // Reads bytes of a run, or of a part of one, that is in state kMemory or kSpill.
    void read(State state, uint64_t offset, std::span<const iovec> out) const;
    // Overwrites bytes of blocks that are in state kMemory or kSpill already.
    void overwrite(State state, uint64_t offset, std::span<const iovec> in);
    // Stores whole blocks that are in state kLower or kZero (the device's last block may be a part of one),
    // in memory while the limit allows, else in the spill file. Returns how many bytes of `in` it took, from
    // the start: whole blocks, at least one. Throws Error(kNoSpace) when neither has room. At most
    // IovecCursor::kMaxPieces pieces.
    uint64_t store(uint64_t offset, std::span<const iovec> in);
    // Whole blocks (as above) read as zeros from now on; their storage is given back.
    void set_zero(uint64_t offset, uint64_t length);

  private:
    struct Header;
    OverlayStore(Fd memory, Fd spill, uint64_t size, bool fresh, uint64_t memory_limit);
    Header& header() const;
    uint64_t area() const;
    uint64_t blocks() const;
    State state_of(uint64_t block) const;
    uint64_t same_state_end(uint64_t block, uint64_t limit_block) const;
    void set_states(uint64_t first, uint64_t count, State state);

    Fd memory_;
    Fd spill_;
    uint64_t size_;
    std::byte* mapped_ = nullptr;  // header and map
    size_t mapped_length_ = 0;
    uint64_t* words_ = nullptr;  // the map, in mapped_
};

}  // namespace inspect
