// SPDX-License-Identifier: LGPL-2.1-or-later
//
// A bounded cache of an image file's tables, write-back. Its unit is the slice: a piece of a table, small
// enough that one entry of a table of 2 MiB doesn't cost 2 MiB.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <unordered_map>
#include <vector>

#include "block/block_device.h"

namespace inspect {

// Not thread-safe.
class SliceCache {
  public:
    // `file` must outlive this. slice_size is a power of two; about max_slices are kept.
    SliceCache(BlockDevice& file, size_t slice_size, size_t max_slices)
        : file_(file), slice_size_(slice_size), max_slices_(max_slices) {}

    size_t slice_size() const noexcept { return slice_size_; }

    // The slice at `offset`, a multiple of slice_size, in the file; beyond the file's end it is zeros. The
    // pointer is good until the next call. Throws Error when it can't be read.
    std::byte* get(uint64_t offset);
    // The same, to be changed.
    std::byte* get_dirty(uint64_t offset);

    size_t dirty() const noexcept { return dirty_; }
    // Dirty slices stay in memory until they are written: when this says so it is time.
    bool crowded() const noexcept { return dirty_ >= max_slices_ / 2; }
    // Writes what is dirty in ascending order, adjacent slices together. When it throws, what wasn't written
    // stays dirty.
    void write_back();
    // What is cached of [offset, offset + length) is no table any more: dropped, even if dirty.
    void forget(uint64_t offset, uint64_t length);

  private:
    static constexpr uint64_t kNone = ~uint64_t{0};
    struct Slot {
        uint64_t offset = kNone;
        std::unique_ptr<std::byte[]> bytes;
        bool dirty = false;
        bool used = false;  // since the clock's hand passed
    };

    uint32_t find(uint64_t offset);
    uint32_t victim();
    void drop(uint32_t slot);

    BlockDevice& file_;
    size_t slice_size_;
    size_t max_slices_;
    std::vector<Slot> slots_;
    std::unordered_map<uint64_t, uint32_t> index_;
    uint32_t last_ = 0;
    uint32_t hand_ = 0;
    size_t dirty_ = 0;
};

}  // namespace inspect
