// SPDX-License-Identifier: GPL-2.0-or-later
//
// What the boot sector of a FAT says of its layout, and what of that libparted can resize. The agent and
// fat-resize, the program that does it, both go by this.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>

namespace inspect::agent {

struct FatLayout {
    unsigned bits = 0;  // 12, 16 or 32: by the number of clusters, which alone decides
    uint32_t sector_size = 0;
    uint32_t cluster_sectors = 0;
    uint32_t reserved_sectors = 0;
    uint32_t tables = 0;
    uint64_t sectors = 0;  // in all
    uint64_t clusters = 0;
    uint32_t backup_sector = 0;  // FAT32: where a copy of the boot sector is; 0: nowhere

    uint64_t size() const { return sectors * sector_size; }
};

constexpr size_t kFatBootSector = 512;

// Of the first 512 bytes of a FAT. nullopt: they make no sense.
std::optional<FatLayout> parse_fat_boot_sector(std::span<const uint8_t, kFatBootSector> boot);

// Why libparted can't resize it: "it is a FAT12". Empty: it can.
std::string why_fat_is_fixed(const FatLayout& layout);

// As large, in bytes, as it can be without becoming a FAT of another type; its clusters can't grow.
uint64_t largest_fat(const FatLayout& layout);

// As small, in bytes, as a FAT32 may be; what is in it may need more. 0: of a FAT16 libparted knows it.
uint64_t least_fat(const FatLayout& layout);

}  // namespace inspect::agent
