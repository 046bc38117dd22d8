// SPDX-License-Identifier: GPL-2.0-or-later
//
// What the boot sector of a FAT says of its layout, and what layout it has when it is made larger or smaller.
//
// The type is what Linux takes it for: FAT32 when the boot sector has FAT32's fields, whatever its number of
// clusters, and of the others a FAT12 when it has fewer than 4085.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>

namespace inspect::agent {

// Consistent: what it has of metadata lies within it. Cluster numbers begin with 2.
struct FatLayout {
    unsigned bits = 0;  // of a table's entry: 12, 16 or 32
    uint32_t sector_size = 0;
    uint32_t cluster_sectors = 0;
    uint32_t reserved_sectors = 0;
    uint32_t tables = 0;
    uint64_t table_sectors = 0;  // of each
    uint32_t active_table = 0;   // the one to go by, when they aren't kept alike
    uint32_t root_entries = 0;   // FAT12 and FAT16, whose root directory lies between tables and clusters
    uint64_t sectors = 0;        // in all
    uint64_t clusters = 0;
    uint32_t root_cluster = 0;   // FAT32
    uint32_t info_sector = 0;    // FAT32: where the number of free clusters is noted; 0: nowhere
    uint32_t backup_sector = 0;  // FAT32: where a copy of the boot sector is; 0: nowhere

    uint64_t size() const { return sectors * sector_size; }
    uint64_t cluster_size() const { return uint64_t{cluster_sectors} * sector_size; }
    uint64_t table_size() const { return table_sectors * sector_size; }
    uint64_t root_sectors() const;  // of FAT12's and FAT16's root directory
    uint64_t root_start() const { return (reserved_sectors + tables * table_sectors) * sector_size; }
    uint64_t data_sector() const { return reserved_sectors + tables * table_sectors + root_sectors(); }
    // Bytes, from the file system's start.
    uint64_t table_start(uint32_t table) const {
        return (reserved_sectors + table * table_sectors) * sector_size;
    }
    uint64_t cluster_start(uint64_t cluster) const {
        return data_sector() * sector_size + (cluster - 2) * cluster_size();
    }
    // How many clusters its tables have entries for.
    uint64_t table_capacity() const;

    bool operator==(const FatLayout&) const = default;
};

constexpr size_t kFatBootSector = 512;

// Of the first 512 bytes of a FAT. nullopt: they make no sense.
std::optional<FatLayout> parse_fat_boot_sector(std::span<const uint8_t, kFatBootSector> boot);

// Makes these the sizes that `boot` has.
void store_fat_layout(std::span<uint8_t, kFatBootSector> boot, const FatLayout& layout);

// Why it isn't resized: "it has 3 allocation tables". Empty: it can be.
std::string why_fat_is_fixed(const FatLayout& layout);

// As much of `size` bytes as a FAT of its type, with clusters of its size, can take. Smaller, it keeps its
// tables. Larger, it has longer ones where it needs them; its data then begin a whole number of clusters
// later, at most `movable`, so that all others stay where they are.
FatLayout resized_fat(const FatLayout& layout, uint64_t size, uint64_t movable = UINT32_MAX);

// As large, in bytes, as that can be.
uint64_t largest_fat(const FatLayout& layout, uint64_t movable = UINT32_MAX);

// The least clusters that don't make it a FAT of another type to anybody.
uint64_t least_fat_clusters(const FatLayout& layout);

}  // namespace inspect::agent
