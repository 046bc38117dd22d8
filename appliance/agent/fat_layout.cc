// SPDX-License-Identifier: GPL-2.0-or-later
//
// Source: Microsoft's FAT specification 1.03, "Boot Sector and BPB" and "FAT Type Determination". The limits
// of what can be resized are those of libparted 3.5 (libparted/fs/r/fat/calc.c).
#include "fat_layout.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "base/endian.h"

namespace inspect::agent {

namespace {

constexpr uint64_t kMostFat12Clusters = 4084;
constexpr uint64_t kMostFat16Clusters = 65524;
// libparted stays a little below what the specification allows.
constexpr uint64_t kMostResizedFat16 = 0xfff0;
constexpr uint64_t kMostResizedFat32 = 0x0ffffff0;
// It only makes clusters smaller, down to these.
constexpr uint32_t kLeastFat16Cluster = 1024;
constexpr uint32_t kLeastFat32Cluster = 4096;
// 65525 clusters of 4 KiB with their tables, rounded up: with fewer others would take it for a FAT16.
constexpr uint64_t kLeastFat32 = 257 << 20;

template <typename T>
T load(std::span<const uint8_t> from, size_t at) {
    T value;
    std::memcpy(&value, from.data() + at, sizeof value);
    return value;
}

}  // namespace

std::optional<FatLayout> parse_fat_boot_sector(std::span<const uint8_t, kFatBootSector> boot) {
    FatLayout layout;
    layout.sector_size = load<le16>(boot, 11);
    layout.cluster_sectors = boot[13];
    layout.reserved_sectors = load<le16>(boot, 14);
    layout.tables = boot[16];
    const uint64_t root_entries = load<le16>(boot, 17);
    layout.sectors = load<le16>(boot, 19);
    if (layout.sectors == 0) layout.sectors = load<le32>(boot, 32);
    uint64_t table_sectors = load<le16>(boot, 22);
    const bool wide = table_sectors == 0;
    if (wide) table_sectors = load<le32>(boot, 36);
    constexpr uint32_t kMostSector = 4096;
    if (!std::has_single_bit(layout.sector_size) || layout.sector_size < kFatBootSector ||
        layout.sector_size > kMostSector || !std::has_single_bit(layout.cluster_sectors) ||
        layout.reserved_sectors == 0 || layout.tables == 0)
        return std::nullopt;
    constexpr uint64_t kRootEntry = 32;
    const uint64_t root = (root_entries * kRootEntry + layout.sector_size - 1) / layout.sector_size;
    const uint64_t metadata = layout.reserved_sectors + layout.tables * table_sectors + root;
    if (layout.sectors <= metadata) return std::nullopt;
    layout.clusters = (layout.sectors - metadata) / layout.cluster_sectors;
    layout.bits = layout.clusters <= kMostFat12Clusters   ? 12
                  : layout.clusters <= kMostFat16Clusters ? 16
                                                          : 32;
    // One that has the structures of the other type is read differently by different drivers.
    if (wide != (layout.bits == 32)) return std::nullopt;
    uint32_t backup = 0;
    if (wide) backup = load<le16>(boot, 50);
    layout.backup_sector = backup < layout.reserved_sectors ? backup : 0;
    return layout;
}

std::string why_fat_is_fixed(const FatLayout& layout) {
    if (layout.bits == 12) return "it is a FAT12";
    if (layout.sector_size != kFatBootSector)
        return "its sectors have " + std::to_string(layout.sector_size) + " bytes, not 512";
    constexpr uint32_t kTables = 2;
    if (layout.tables != kTables)
        return "it has " + std::to_string(layout.tables) + " allocation tables, not two";
    const uint32_t least = layout.bits == 16 ? kLeastFat16Cluster : kLeastFat32Cluster;
    if (layout.cluster_sectors * layout.sector_size < least)
        return "it is a FAT" + std::to_string(layout.bits) + " with clusters below " +
               std::to_string(least >> 10) + " KiB";
    return {};
}

uint64_t largest_fat(const FatLayout& layout) {
    const uint64_t clusters = layout.bits == 32 ? kMostResizedFat32 : kMostResizedFat16;
    return std::min<uint64_t>(clusters * layout.cluster_sectors, UINT32_MAX) * layout.sector_size;
}

uint64_t least_fat(const FatLayout& layout) { return layout.bits == 32 ? kLeastFat32 : 0; }

}  // namespace inspect::agent
