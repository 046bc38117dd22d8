// SPDX-License-Identifier: GPL-2.0-or-later
//
// Sources: Microsoft's FAT specification 1.03, "Boot Sector and BPB" and "FAT Type Determination";
// linux/fs/fat/inode.c; the limits of mkfs.fat 4.2.
#include "fat_layout.h"

#include <algorithm>
#include <bit>
#include <numeric>

#include "fields.h"

namespace inspect::agent {

namespace {

constexpr uint64_t kMostFat12 = 4084;
// Windows takes one with 4085 or 4086 clusters for a FAT12, everybody else for a FAT16.
constexpr uint64_t kLeastFat16 = 4087;
constexpr uint64_t kMostFat16 = 65524;
// By the specification. A FAT32 with fewer is read by Linux, Windows and UEFI as the FAT32 that it says it
// is; but one that nobody can mistake isn't made one that somebody may.
constexpr uint64_t kLeastFat32 = 65525;
// The format has twice as many. So many take 48 MiB of bits while they are resized.
constexpr uint64_t kMostFat32 = uint64_t{1} << 27;

constexpr uint64_t kEntry = 32;  // of a directory

// Places in the boot sector.
constexpr size_t kSectors16 = 19;
constexpr size_t kTableSectors16 = 22;
constexpr size_t kSectors32 = 32;
constexpr size_t kTableSectors32 = 36;
constexpr size_t kFlags = 40;
constexpr size_t kVersion = 42;
constexpr size_t kRootCluster = 44;
constexpr size_t kInfoSector = 48;
constexpr size_t kBackupSector = 50;

uint64_t most_clusters(const FatLayout& layout) {
    return layout.bits == 12 ? kMostFat12 : layout.bits == 16 ? kMostFat16 : kMostFat32;
}

// Those that its sectors have room for.
uint64_t room(const FatLayout& layout) {
    const uint64_t metadata = layout.data_sector();
    return layout.sectors > metadata ? (layout.sectors - metadata) / layout.cluster_sectors : 0;
}

// Gives it the clusters that it can have with its tables, and no sectors that aren't for them.
void fill(FatLayout& layout) {
    layout.clusters = std::min({room(layout), most_clusters(layout), layout.table_capacity()});
    layout.sectors =
        std::min(layout.sectors, layout.data_sector() + (layout.clusters + 1) * layout.cluster_sectors - 1);
}

void parse_fat32(std::span<const uint8_t, kFatBootSector> boot, FatLayout& layout) {
    const uint16_t flags = load<le16>(boot, kFlags);
    constexpr uint16_t kNotAlike = 0x80;
    constexpr uint16_t kActive = 0x0f;
    layout.active_table = flags & kNotAlike ? flags & kActive : 0;
    layout.root_cluster = load<le32>(boot, kRootCluster);
    auto reserved = [&](size_t at, uint32_t otherwise) -> uint32_t {
        const uint32_t sector = load<le16>(boot, at);
        const uint32_t found = sector == 0 ? otherwise : sector;
        return found < layout.reserved_sectors ? found : 0;
    };
    layout.info_sector = reserved(kInfoSector, 1);  // as Linux
    layout.backup_sector = reserved(kBackupSector, 0);
}

}  // namespace

uint64_t FatLayout::root_sectors() const { return root_entries * kEntry / sector_size; }

uint64_t FatLayout::table_capacity() const {
    const uint64_t entries = table_size() * 8 / bits;
    return entries > 2 ? entries - 2 : 0;
}

std::optional<FatLayout> parse_fat_boot_sector(std::span<const uint8_t, kFatBootSector> boot) {
    FatLayout layout;
    layout.sector_size = load<le16>(boot, 11);
    layout.cluster_sectors = boot[13];
    layout.reserved_sectors = load<le16>(boot, 14);
    layout.tables = boot[16];
    layout.root_entries = load<le16>(boot, 17);
    layout.sectors = load<le16>(boot, kSectors16);
    if (layout.sectors == 0) layout.sectors = load<le32>(boot, kSectors32);
    layout.table_sectors = load<le16>(boot, kTableSectors16);
    const bool wide = layout.table_sectors == 0;
    if (wide) layout.table_sectors = load<le32>(boot, kTableSectors32);
    constexpr uint32_t kMostSector = 4096;
    if (!std::has_single_bit(layout.sector_size) || layout.sector_size < kFatBootSector ||
        layout.sector_size > kMostSector || !std::has_single_bit(layout.cluster_sectors) ||
        layout.reserved_sectors == 0 || layout.tables == 0 || layout.table_sectors == 0 ||
        wide != (layout.root_entries == 0) || layout.root_entries * kEntry % layout.sector_size != 0)
        return std::nullopt;
    if (layout.sectors <= layout.data_sector()) return std::nullopt;
    layout.clusters = room(layout);
    layout.bits = wide ? 32 : layout.clusters <= kMostFat12 ? 12 : 16;
    if (layout.clusters == 0 || (layout.bits == 16 && layout.clusters > kMostFat16)) return std::nullopt;
    if (!wide) return layout;
    parse_fat32(boot, layout);
    if (load<le16>(boot, kVersion) != 0 || layout.active_table >= layout.tables || layout.root_cluster < 2 ||
        layout.root_cluster - 2 >= layout.clusters)
        return std::nullopt;
    return layout;
}

void store_fat_layout(std::span<uint8_t, kFatBootSector> boot, const FatLayout& layout) {
    const bool wide = layout.bits == 32;
    const bool is_short = !wide && layout.sectors <= UINT16_MAX;
    store<le16>(boot, kSectors16, static_cast<uint16_t>(is_short ? layout.sectors : 0));
    store<le32>(boot, kSectors32, static_cast<uint32_t>(is_short ? 0 : layout.sectors));
    if (!wide) return store<le16>(boot, kTableSectors16, static_cast<uint16_t>(layout.table_sectors));
    store<le32>(boot, kTableSectors32, static_cast<uint32_t>(layout.table_sectors));
    store<le32>(boot, kRootCluster, layout.root_cluster);
}

std::string why_fat_is_fixed(const FatLayout& layout) {
    constexpr uint32_t kMostTables = 2;
    if (layout.tables > kMostTables)
        return "it has " + std::to_string(layout.tables) + " allocation tables, not one or two";
    if (layout.table_capacity() < layout.clusters)
        return "its allocation table is too short for its clusters";
    if (layout.clusters > most_clusters(layout))
        return "it has more than " + std::to_string(most_clusters(layout)) + " clusters";
    return {};
}

FatLayout resized_fat(const FatLayout& layout, uint64_t size, uint64_t movable) {
    FatLayout as_it_is = layout;
    as_it_is.sectors = std::min<uint64_t>(size / layout.sector_size, UINT32_MAX);
    // The tables are made longer by a multiple of this, all together by whole clusters.
    const uint64_t step = layout.cluster_sectors / std::gcd(layout.cluster_sectors, layout.tables);
    const uint64_t clusters_a_step = step * layout.tables / layout.cluster_sectors;
    auto longer_by = [&](uint64_t steps) {
        FatLayout longer = as_it_is;
        longer.table_sectors += steps * step;
        return longer;
    };
    uint64_t least = 0;
    uint64_t most = movable / clusters_a_step;
    while (least < most) {
        const uint64_t steps = least + (most - least) / 2;
        const FatLayout longer = longer_by(steps);
        if (longer.table_capacity() >= std::min(room(longer), most_clusters(longer)))
            most = steps;
        else
            least = steps + 1;
    }
    FatLayout longer = longer_by(least);
    fill(as_it_is);
    fill(longer);
    // A little more room may be no more than what longer tables would take.
    return longer.clusters > as_it_is.clusters ? longer : as_it_is;
}

uint64_t largest_fat(const FatLayout& layout, uint64_t movable) {
    return resized_fat(layout, uint64_t{UINT32_MAX} * layout.sector_size, movable).size();
}

uint64_t least_fat_clusters(const FatLayout& layout) {
    const uint64_t least = layout.bits == 12 ? 1 : layout.bits == 16 ? kLeastFat16 : kLeastFat32;
    if (layout.clusters >= least) return least;
    return layout.bits == 32 ? 1 : layout.clusters;
}

}  // namespace inspect::agent
