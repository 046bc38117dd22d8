// SPDX-License-Identifier: GPL-2.0-or-later
//
// An allocation table of a FAT, an entry a cluster, in entries of 12, 16 or 32 bits.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "fat_layout.h"

namespace inspect::agent {

// What an entry says. A FAT32's upper four bits are somebody else's, and not part of it.
struct FatEntry {
    static uint32_t number(unsigned bits, uint32_t raw) { return bits == 32 ? raw & 0x0fffffff : raw; }
    static uint32_t bad(unsigned bits) { return number(bits, mask(bits) - 8); }
    // The last of its chain.
    static bool is_end(unsigned bits, uint32_t raw) { return number(bits, raw) > bad(bits); }
    static uint32_t with_number(unsigned bits, uint32_t raw, uint64_t value) {
        return (bits == 32 ? raw & 0xf0000000 : 0) | static_cast<uint32_t>(value);
    }

  private:
    static uint32_t mask(unsigned bits) { return bits == 12 ? 0xfff : bits == 16 ? 0xffff : 0x0fffffff; }
};

// As many entries as are packed or unpacked at once. A FAT12 or FAT16 has no more.
constexpr size_t kFatWindow = 65536;

// The table to go by of a file system at `offset` of a device. What is read is not believed to make sense.
class FatTable {
  public:
    // `fd` stays the caller's.
    FatTable(int fd, uint64_t offset, const FatLayout& layout) : fd_(fd), offset_(offset), layout_(layout) {}

    // `count` entries, at most kFatWindow, as they are. Those that the file system has no clusters for are 0.
    // Throws Error, Failure.
    std::vector<uint32_t> read(uint64_t first, size_t count) const;
    // One; those around it are remembered.
    uint32_t at(uint64_t cluster);

  private:
    int fd_;
    uint64_t offset_;
    const FatLayout& layout_;
    uint64_t first_ = 0;
    std::vector<uint32_t> window_;
};

// Entries as a table has them, the first of an even number.
std::vector<uint8_t> pack_fat_entries(unsigned bits, std::span<const uint32_t> entries);

}  // namespace inspect::agent
