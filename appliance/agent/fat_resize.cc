// SPDX-License-Identifier: GPL-2.0-or-later
//
// Sources: Microsoft's FAT specification 1.03; linux/fs/fat.
//
// Clusters go by their old numbers here, also those that there will be beyond the old end: a number stands
// for a place on the device, whichever layout it is seen in.
#include "fat_resize.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <span>
#include <string>
#include <vector>

#include "base/checked.h"
#include "base/fd.h"
#include "failure.h"
#include "fat_table.h"
#include "fat_volume.h"
#include "fields.h"
#include "rank_bitmap.h"

namespace inspect::agent {

namespace {

[[noreturn]] void refuse_syslinux() {
    throw Failure(proto::UNSUPPORTED,
                  "LDLINUX.SYS would have to be moved, which SYSLINUX's boot sector finds by its place");
}

// A FAT that gets another layout.
class Resizing {
  public:
    Resizing(const FatVolume& volume, const FatLayout& wanted, const FatPoll& poll)
        : volume_(volume),
          old_(volume.layout()),
          new_(wanted),
          poll_(poll),
          first_(2 + (new_.data_sector() - old_.data_sector()) / old_.cluster_sectors),
          end_(first_ + new_.clusters),
          usage_(volume, std::max(end_, volume.end()), poll),
          used_(usage_.used()),
          taken_(usage_.taken()),
          moved_(used_.ones() - (used_.ones_before(end_) - used_.ones_before(first_))) {
        const FatImmovable immovable = check_fat_directories(volume, usage_, poll);
        if (immovable.first < first_ || immovable.last >= end_) refuse_syslinux();
        for (uint64_t cluster = taken_.next_one(2); cluster < first_;
             cluster = taken_.next_one(cluster + 1)) {
            if (!used_.test(cluster))
                throw Failure(proto::UNSUPPORTED, "a cluster that is marked bad is in the tables' way");
        }
        if (taken_.zeros_before(end_) - taken_.zeros_before(first_) < moved_)
            throw Failure(proto::NO_SPACE, "what is in the file system doesn't fit in that size", ENOSPC);
        if (old_.bits == 32) new_.root_cluster = number_of(old_.root_cluster);
    }

    void apply() {
        copy_moved();
        patch_directories();
        // From here on the old tables are overwritten.
        const std::vector<uint32_t> lost = entries_before_first();
        write_table(lost);
        copy_table();
        write_information();
        write_boot_sectors();
        volume_.sync();
    }

  private:
    bool stays(uint64_t cluster) const { return cluster >= first_ && cluster < end_; }

    // Where what is in `cluster`, which is in use, will be.
    uint64_t place_of(uint64_t cluster) const {
        if (stays(cluster)) return cluster;
        // Those that are moved keep their order.
        uint64_t rank = used_.ones_before(cluster);
        if (cluster >= end_) rank -= used_.ones_before(end_) - used_.ones_before(first_);
        return taken_.zero(taken_.zeros_before(first_) + rank);
    }
    // Its number then.
    uint32_t number_of(uint64_t cluster) const {
        return static_cast<uint32_t>(place_of(cluster) - first_ + 2);
    }
    uint64_t next_moved(uint64_t cluster) const {
        cluster = used_.next_one(cluster);
        return stays(cluster) ? used_.next_one(end_) : cluster;
    }

    void copy_moved() {
        const uint64_t size = old_.cluster_size();
        const uint64_t most = std::max<uint64_t>(1, kFatChunk / size);
        std::vector<uint8_t> buffer;
        uint64_t from = next_moved(2);
        uint64_t to = taken_.next_zero(first_);
        for (uint64_t left = moved_; left > 0;) {
            poll_();
            uint64_t count = 1;
            uint64_t next_from = next_moved(from + 1);
            uint64_t next_to = taken_.next_zero(to + 1);
            for (; count < std::min(left, most) && next_from == from + count && next_to == to + count;
                 ++count) {
                next_from = next_moved(next_from + 1);
                next_to = taken_.next_zero(next_to + 1);
            }
            buffer.resize(count * size);
            volume_.read(old_.cluster_start(from), buffer);
            volume_.write(old_.cluster_start(to), buffer);
            left -= count;
            from = next_from;
            to = next_to;
        }
    }

    // Where they will be. A root directory that isn't in clusters goes behind the longer tables, over
    // clusters that were moved, so it is written last.
    void patch_directories() {
        bool changed = false;
        std::vector<uint8_t> root;
        FatDirectories(volume_, poll_)
            .walk(
                [&](FatDirectoryEntry& entry, bool) {
                    const uint32_t first = entry.first_cluster();
                    if (first == 0) return;
                    const uint32_t number = number_of(first);
                    if (number == first) return;
                    entry.set_first_cluster(number);
                    changed = true;
                },
                [&](uint64_t cluster, std::span<const uint8_t> piece) {
                    if (cluster == 0)
                        root.assign(piece.begin(), piece.end());
                    else if (changed)
                        volume_.write(old_.cluster_start(place_of(cluster)), piece);
                    changed = false;
                });
        if (root.empty()) return;
        root.resize(new_.root_sectors() * new_.sector_size);
        volume_.update(new_.root_start(), root);
    }

    // The entries of the first clusters, whose place in the table others get.
    std::vector<uint32_t> entries_before_first() const {
        std::vector<uint32_t> entries;
        const FatTable table = volume_.table();
        while (entries.size() < first_) {
            const auto count = static_cast<size_t>(std::min<uint64_t>(kFatWindow, first_ - entries.size()));
            const std::vector<uint32_t> part = table.read(entries.size(), count);
            entries.insert(entries.end(), part.begin(), part.end());
        }
        return entries;
    }

    uint32_t renumbered(uint32_t entry) const {
        if (FatEntry::is_end(old_.bits, entry)) return entry;
        return FatEntry::with_number(old_.bits, entry, number_of(FatEntry::number(old_.bits, entry)));
    }

    // The first table, in place: an entry is read no earlier in the table than it is written, those of `lost`
    // and of what lies behind the new end apart.
    void write_table(const std::vector<uint32_t>& lost) {
        const FatTable table = volume_.table();
        FatTable behind = volume_.table();
        uint64_t from = next_moved(2);
        uint64_t left = moved_;
        const uint64_t end = new_.clusters + 2;
        for (uint64_t number = 0; number < end; number += kFatWindow) {
            poll_();
            const auto count = static_cast<size_t>(std::min<uint64_t>(kFatWindow, end - number));
            std::vector<uint32_t> entries = table.read(number + first_ - 2, count);
            for (size_t i = 0; i < count; ++i) {
                const uint64_t cluster = number + i + first_ - 2;
                if (number + i < 2) {
                    entries[i] = lost[i];  // the medium's byte and what marks a chain's end
                } else if (used_.test(cluster)) {
                    entries[i] = renumbered(entries[i]);
                } else if (!taken_.test(cluster) && left > 0) {
                    entries[i] = renumbered(from < first_ ? lost[from] : behind.at(from));
                    from = next_moved(from + 1);
                    --left;
                }  // else free or bad
            }
            volume_.update(new_.table_start(0) + number * new_.bits / 8,
                           pack_fat_entries(new_.bits, entries));
        }
        const uint64_t written = (end * new_.bits + 7) / 8;
        volume_.zero(new_.table_start(0) + written, new_.table_size() - written);
    }

    void copy_table() {
        std::vector<uint8_t> buffer;
        for (uint32_t table = 1; table < new_.tables; ++table) {
            for (uint64_t done = 0; done < new_.table_size(); done += buffer.size()) {
                poll_();
                buffer.resize(std::min<uint64_t>(kFatChunk, new_.table_size() - done));
                volume_.read(new_.table_start(0) + done, buffer);
                volume_.update(new_.table_start(table) + done, buffer);
            }
        }
    }

    // How many are free, in the sector for that and in its copy.
    void write_information() {
        if (new_.info_sector == 0) return;
        constexpr uint32_t kMagics[][2] = {{0, 0x41615252}, {484, 0x61417272}, {508, 0xaa550000}};
        constexpr size_t kFree = 488;
        constexpr size_t kNext = 492;
        constexpr uint32_t kUnknown = 0xffffffff;
        const uint64_t bad = (taken_.ones_before(end_) - taken_.ones_before(first_)) -
                             (used_.ones_before(end_) - used_.ones_before(first_));
        const uint64_t free = new_.clusters - used_.ones() - bad;
        for (const uint32_t before : {uint32_t{0}, new_.backup_sector}) {
            const uint64_t sector = uint64_t{before} + new_.info_sector;
            if (sector >= new_.reserved_sectors) continue;
            std::array<uint8_t, kFatBootSector> bytes;
            volume_.read(sector * new_.sector_size, bytes);
            if (!std::all_of(std::begin(kMagics), std::end(kMagics),
                             [&](const auto& magic) { return load<le32>(bytes, magic[0]) == magic[1]; }))
                continue;
            store<le32>(bytes, kFree, static_cast<uint32_t>(free));
            const uint32_t next = load<le32>(bytes, kNext);
            store<le32>(bytes, kNext, stays(next) ? static_cast<uint32_t>(next - first_ + 2) : kUnknown);
            volume_.write(sector * new_.sector_size, bytes);
        }
    }

    // Nothing but the sizes. A copy that says something else is no copy of it.
    void write_boot_sectors() {
        for (const uint32_t sector : {new_.backup_sector, uint32_t{0}}) {
            std::array<uint8_t, kFatBootSector> boot;
            volume_.read(uint64_t{sector} * new_.sector_size, boot);
            if (parse_fat_boot_sector(boot) != old_) continue;
            store_fat_layout(boot, new_);
            volume_.write(uint64_t{sector} * new_.sector_size, boot);
        }
    }

    const FatVolume& volume_;
    const FatLayout& old_;
    FatLayout new_;
    const FatPoll& poll_;
    const uint64_t first_, end_;  // the clusters of the new layout, by old numbers
    FatUsage usage_;
    const RankBitmap& used_;
    const RankBitmap& taken_;
    const uint64_t moved_;  // how many are
};

uint64_t device_size(int fd) {
    const off_t end = ::lseek(fd, 0, SEEK_END);
    if (end < 0) throw Failure::from_errno("cannot find out how large the device is", errno);
    return static_cast<uint64_t>(end);
}

FatLayout resizable(int fd, uint64_t offset) {
    const std::optional<FatLayout> layout = read_fat_layout(fd, offset);
    if (!layout) throw Failure(proto::CORRUPT, "the boot sector is none of a FAT");
    if (const std::string why = why_fat_is_fixed(*layout); !why.empty())
        throw Failure(proto::UNSUPPORTED, "the FAT can't be resized: " + why);
    if (!range_fits(offset, layout->size(), device_size(fd))) refuse_truncated_fat();
    return *layout;
}

}  // namespace

std::optional<FatLayout> read_fat_layout(int fd, uint64_t offset) {
    std::array<uint8_t, kFatBootSector> boot;
    if (pread_full(fd, std::as_writable_bytes(std::span(boot)), offset, "cannot read the file system") !=
        boot.size())
        return std::nullopt;
    return parse_fat_boot_sector(boot);
}

uint64_t movable_fat_clusters(int fd, uint64_t offset, const FatLayout& layout) {
    const FatVolume volume(fd, offset, layout);
    const FatPoll nothing = [] {};
    FatDirectories directories(volume, nothing);
    std::vector<uint8_t> piece;
    uint64_t first = 0;
    auto look = [&] {
        for_each_used_entry(piece, layout.bits, [&](const FatDirectoryEntry& entry) {
            if (!entry.is_directory() && entry.has_name(kSyslinuxName)) first = entry.first_cluster();
        });
    };
    // Linux's limit of a directory; and of a file that has 70 KiB.
    constexpr uint64_t kMostRoot = 2 << 20;
    constexpr uint64_t kMostFile = 1 << 20;
    if (layout.bits == 32) {
        piece.resize(layout.cluster_size());
        uint64_t read = 0;
        directories.for_each_in_chain(layout.root_cluster, [&](uint64_t cluster) {
            volume.read(layout.cluster_start(cluster), piece);
            look();
            return first == 0 && (read += piece.size()) < kMostRoot;
        });
    } else {
        piece.resize(layout.root_entries * FatDirectoryEntry::kSize);
        volume.read(layout.root_start(), piece);
        look();
    }
    uint64_t movable = UINT32_MAX;
    uint64_t read = 0;
    directories.for_each_in_chain(first, [&](uint64_t cluster) {
        movable = std::min(movable, cluster - 2);
        return (read += layout.cluster_size()) < kMostFile;
    });
    return movable;
}

void verify_fat(int fd, uint64_t offset, const FatPoll& poll) {
    const FatLayout layout = resizable(fd, offset);
    const FatVolume volume(fd, offset, layout);
    std::array<uint8_t, kFatBootSector> boot;
    volume.read(0, boot);
    constexpr size_t kState = 37;
    constexpr size_t kState32 = 65;
    constexpr uint8_t kDirty = 3;  // not unmounted, or with errors
    if (boot[layout.bits == 32 ? kState32 : kState] & kDirty) refuse_fat("it wasn't unmounted");
    FatUsage usage(volume, volume.end(), poll);
    check_fat_directories(volume, usage, poll);
    std::vector<uint8_t> one, other;
    for (uint32_t table = 1; table < layout.tables; ++table) {
        for (uint64_t done = 0; done < layout.table_size(); done += one.size()) {
            poll();
            one.resize(std::min<uint64_t>(kFatChunk, layout.table_size() - done));
            other.resize(one.size());
            volume.read(layout.table_start(0) + done, one);
            volume.read(layout.table_start(table) + done, other);
            if (one != other) refuse_fat("its allocation tables differ");
        }
    }
}

uint64_t smallest_fat(int fd, uint64_t offset, const FatPoll& poll) {
    const FatLayout layout = resizable(fd, offset);
    const FatVolume volume(fd, offset, layout);
    FatUsage usage(volume, volume.end(), poll);
    const FatImmovable immovable = check_fat_directories(volume, usage, poll);
    // The bad ones before the end are of no use.
    uint64_t clusters = usage.used().ones();
    for (uint64_t bad = 0;;) {
        const uint64_t end = std::min(clusters + 2, volume.end());
        const uint64_t now = usage.taken().ones_before(end) - usage.used().ones_before(end);
        if (now == bad) break;
        clusters += now - bad;
        bad = now;
    }
    if (immovable.last > 0) clusters = std::max(clusters, immovable.last - 1);
    clusters = std::max(clusters, least_fat_clusters(layout));
    return layout.data_sector() * layout.sector_size + clusters * layout.cluster_size();
}

void resize_fat(int fd, uint64_t offset, uint64_t size, const FatPoll& poll) {
    const FatLayout layout = resizable(fd, offset);
    const bool grows = size >= layout.size();
    const FatLayout wanted = resized_fat(layout, size, grows ? movable_fat_clusters(fd, offset, layout) : 0);
    if (wanted == layout) return;
    if (wanted.clusters < std::min(layout.clusters, least_fat_clusters(layout)))
        throw Failure(proto::NO_SPACE, "a FAT" + std::to_string(layout.bits) + " can't be that small",
                      ENOSPC);
    if (!range_fits(offset, wanted.size(), device_size(fd)))
        throw Failure(proto::USAGE, "the device doesn't have that size", EINVAL);
    const FatVolume volume(fd, offset, layout);
    Resizing(volume, wanted, poll).apply();
}

}  // namespace inspect::agent
