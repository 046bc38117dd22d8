// SPDX-License-Identifier: GPL-2.0-or-later
//
// A FAT on a device: which of its clusters are in use, and its directories. All that it says is hostile: what
// contradicts itself is a Failure.
//
// Source: Microsoft's FAT specification 1.03.
#pragma once

#include <cstdint>
#include <cstring>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "failure.h"
#include "fat_layout.h"
#include "fat_table.h"
#include "fields.h"
#include "rank_bitmap.h"

namespace inspect::agent {

// Is called again and again in what may take long, and may throw.
using FatPoll = std::function<void()>;

// As many bytes as are compared, copied or cleared at once.
constexpr size_t kFatChunk = 1 << 20;

// The name of what SYSLINUX's boot sector reads by its place.
constexpr char kSyslinuxName[] = "LDLINUX SYS";

[[noreturn]] void refuse_fat(const std::string& why);
[[noreturn]] void refuse_truncated_fat();

// A directory entry.
class FatDirectoryEntry {
  public:
    static constexpr size_t kSize = 32;

    FatDirectoryEntry(std::span<uint8_t> bytes, unsigned bits) : bytes_(bytes), wide_(bits == 32) {}

    // As Linux sees it, which goes on behind an entry that begins with 0.
    bool is_used() const {
        constexpr uint8_t kDeleted = 0xe5;
        constexpr uint8_t kVolume = 0x08;  // a label, or part of a long name
        return bytes_[0] != 0 && bytes_[0] != kDeleted && !(bytes_[kAttributes] & kVolume);
    }
    bool is_directory() const { return bytes_[kAttributes] & 0x10; }
    bool is_itself_or_parent() const { return has_name(".          ") || has_name("..         "); }
    bool has_name(const char* name) const { return std::memcmp(bytes_.data(), name, kNameSize) == 0; }
    uint32_t first_cluster() const {
        const uint32_t low = load<le16>(bytes_, kLow);
        return wide_ ? uint32_t{load<le16>(bytes_, kHigh)} << 16 | low : low;
    }
    void set_first_cluster(uint32_t cluster) {
        store<le16>(bytes_, kLow, static_cast<uint16_t>(cluster));
        if (wide_) store<le16>(bytes_, kHigh, static_cast<uint16_t>(cluster >> 16));
    }

  private:
    static constexpr size_t kNameSize = 11;
    static constexpr size_t kAttributes = 11;
    static constexpr size_t kHigh = 20;
    static constexpr size_t kLow = 26;

    std::span<uint8_t> bytes_;
    bool wide_;
};

template <typename Function>
void for_each_used_entry(std::span<uint8_t> piece, unsigned bits, Function function) {
    for (size_t at = 0; at + FatDirectoryEntry::kSize <= piece.size(); at += FatDirectoryEntry::kSize) {
        FatDirectoryEntry entry(piece.subspan(at, FatDirectoryEntry::kSize), bits);
        if (entry.is_used()) function(entry);
    }
}

// The bytes of the file system that is at `offset` of a device.
class FatVolume {
  public:
    FatVolume(int fd, uint64_t offset, const FatLayout& layout) : fd_(fd), offset_(offset), layout_(layout) {}

    const FatLayout& layout() const { return layout_; }
    uint64_t end() const { return layout_.clusters + 2; }
    bool has(uint64_t cluster) const { return cluster >= 2 && cluster < end(); }

    void read(uint64_t at, std::span<uint8_t> out) const;
    void write(uint64_t at, std::span<const uint8_t> in) const;
    // Writes what isn't there yet; many zeros without sending them, where the device can do that.
    void update(uint64_t at, std::span<const uint8_t> in) const;
    void zero(uint64_t at, uint64_t size) const;
    void sync() const;
    FatTable table() const { return {fd_, offset_, layout_}; }

  private:
    int fd_;
    uint64_t offset_;
    const FatLayout& layout_;
};

// Which clusters are in use, and that no two references are to the same one.
class FatUsage {
  public:
    // The table alone, with room for clusters before `end`. Directories refer to clusters by refer().
    FatUsage(const FatVolume& volume, uint64_t end, const FatPoll& poll);

    // Not a bad one.
    const RankBitmap& used() const { return used_; }
    // In use or bad.
    const RankBitmap& taken() const { return taken_; }

    void require_used(uint64_t cluster) const;
    void refer(uint64_t cluster);

  private:
    template <typename Function>
    void for_each_entry(const FatPoll& poll, Function function) const;

    unsigned bits_;
    const FatVolume& volume_;
    RankBitmap used_, taken_, referred_;
};

// Goes through all directories.
class FatDirectories {
  public:
    FatDirectories(const FatVolume& volume, const FatPoll& poll)
        : volume_(volume), table_(volume.table()), poll_(poll) {}

    // A piece of a directory: `cluster`'s, or 0 for the root directory of a FAT12 or FAT16. visit() is given
    // each of its entries that is used, and done() then the piece. For chains that FatUsage knows to be
    // sound; visit() has to make sure of where an entry leads.
    template <typename Visit, typename Done>
    void walk(Visit visit, Done done) {
        const FatLayout& layout = volume_.layout();
        std::vector<uint64_t> waiting;
        std::vector<uint8_t> piece;
        auto look = [&](uint64_t cluster, bool root) {
            poll_();
            for_each_used_entry(piece, layout.bits, [&](FatDirectoryEntry& entry) {
                const uint64_t first = entry.first_cluster();
                visit(entry, root);
                if (!entry.is_directory() || entry.is_itself_or_parent() || first == 0) return;
                constexpr size_t kMostWaiting = 1 << 20;
                if (waiting.size() >= kMostWaiting)
                    throw Failure(proto::UNSUPPORTED, "the file system has too many directories");
                waiting.push_back(first);
            });
            done(cluster, std::span<const uint8_t>(piece));
        };
        if (layout.bits == 32) {
            waiting.push_back(layout.root_cluster);
        } else {
            piece.resize(layout.root_entries * FatDirectoryEntry::kSize);
            volume_.read(layout.root_start(), piece);
            look(0, true);
        }
        piece.resize(layout.cluster_size());
        bool root = layout.bits == 32;
        while (!waiting.empty()) {
            const uint64_t first = waiting.back();
            waiting.pop_back();
            for_each_in_chain(first, [&](uint64_t cluster) {
                volume_.read(layout.cluster_start(cluster), piece);
                look(cluster, root);
                return true;
            });
            root = false;
        }
    }

    // Until `function` says false.
    template <typename Function>
    void for_each_in_chain(uint64_t first, Function function) {
        const unsigned bits = volume_.layout().bits;
        uint64_t left = volume_.layout().clusters;
        for (uint64_t cluster = first; volume_.has(cluster) && left-- > 0;) {
            if (!function(cluster)) return;
            const uint32_t next = table_.at(cluster);
            if (FatEntry::is_end(bits, next)) return;
            cluster = FatEntry::number(bits, next);
        }
    }

  private:
    const FatVolume& volume_;
    FatTable table_;
    const FatPoll& poll_;
};

// What must stay where it is.
struct FatImmovable {
    uint64_t first = UINT64_MAX;
    uint64_t last = 0;
};

// Makes sure of all references of directories, and finds what must stay.
FatImmovable check_fat_directories(const FatVolume& volume, FatUsage& usage, const FatPoll& poll);

}  // namespace inspect::agent
