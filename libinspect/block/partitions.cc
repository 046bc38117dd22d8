// SPDX-License-Identifier: LGPL-2.1-or-later
//
// The UEFI specification, chapter 5 (GPT), and the MBR as everybody has it since DOS.
#include "block/partitions.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>

#include "base/checked.h"
#include "base/endian.h"

namespace inspect {

namespace {

constexpr size_t kMaxPartitions = 1024;
constexpr uint8_t kProtective = 0xee;
constexpr unsigned kMbrSignature = 0xaa55;

struct MbrEntry {
    uint8_t status, first_chs[3], type, last_chs[3];
    le32 start, sectors;
};
struct Mbr {
    uint8_t code[446];
    MbrEntry entries[4];
    le16 signature;
};
static_assert(sizeof(Mbr) == 512);

struct GptHeader {
    char signature[8];
    le32 revision, header_size, header_crc, reserved;
    le64 own_lba, other_lba, first_usable, last_usable;
    uint8_t disk_guid[16];
    le64 entries_lba;
    le32 entry_count, entry_size, entries_crc;
};
struct GptEntry {
    uint8_t type[16], guid[16];
    le64 first, last, attributes;
};

class Finder {
  public:
    Finder(BlockDevice& disk, uint64_t sector) : disk_(disk), sector_(sector) {}

    std::vector<PartitionRange> find() {
        const auto mbr = read<Mbr>(0);
        if (!mbr || mbr->signature != kMbrSignature || looks_like_a_filesystem(*mbr))
            return {{0, disk_.size()}};
        const bool gpt =
            std::ranges::any_of(mbr->entries, [](auto& entry) { return entry.type == kProtective; });
        const bool sound = gpt ? add_gpt() : add_mbr(*mbr);
        if (!sound || overlapping()) return {};
        return std::move(found_);
    }

  private:
    template <typename T>
    std::optional<T> read(uint64_t offset) {
        T value;
        if (!range_fits(offset, sizeof value, disk_.size())) return std::nullopt;
        disk_.read(offset, std::as_writable_bytes(std::span(&value, 1)));
        return value;
    }

    // A boot sector of a file system on the whole disk has the same signature, and code where the table is.
    static bool looks_like_a_filesystem(const Mbr& mbr) {
        return std::ranges::any_of(mbr.entries,
                                   [](auto& entry) { return entry.status != 0 && entry.status != 0x80; }) ||
               std::ranges::all_of(mbr.entries, [](auto& entry) { return entry.type == 0; });
    }

    bool add(uint64_t first, uint64_t sectors) {
        const auto offset = checked_mul(first, sector_), length = checked_mul(sectors, sector_);
        if (!offset || !length || !range_fits(*offset, *length, disk_.size()) ||
            found_.size() >= kMaxPartitions)
            return false;
        found_.push_back({*offset, *length});
        return true;
    }

    bool add_gpt() {
        const auto header = read<GptHeader>(sector_);
        if (!header || std::memcmp(header->signature, "EFI PART", 8) != 0 ||
            header->entry_size < sizeof(GptEntry) || header->entry_count > kMaxPartitions)
            return false;
        for (uint32_t i = 0; i < header->entry_count; ++i) {
            const auto table = checked_mul<uint64_t>(header->entries_lba, sector_);
            const auto at = table ? checked_add(*table, uint64_t{i} * header->entry_size) : std::nullopt;
            const auto entry = at ? read<GptEntry>(*at) : std::nullopt;
            if (!entry) return false;
            if (std::ranges::all_of(entry->type, [](uint8_t byte) { return byte == 0; })) continue;
            if (entry->last < entry->first || !add(entry->first, entry->last - entry->first + 1))
                return false;
        }
        return true;
    }

    bool add_mbr(const Mbr& mbr) {
        for (const MbrEntry& entry : mbr.entries) {
            if (entry.type == 0 || entry.sectors == 0) continue;
            if (is_extended(entry)) {
                if (!add_logical(entry.start)) return false;
            } else if (!add(entry.start, entry.sectors)) {
                return false;
            }
        }
        return true;
    }

    static bool is_extended(const MbrEntry& entry) {
        return entry.type == 0x05 || entry.type == 0x0f || entry.type == 0x85;
    }

    // A chain of boot records, each with a partition of its own (relative to it) and the next one (relative
    // to the first).
    bool add_logical(uint64_t extended) {
        uint64_t at = extended;
        for (size_t i = 0; i < kMaxPartitions; ++i) {
            const auto record = read<Mbr>(at * sector_);
            if (!record || record->signature != kMbrSignature) return false;
            const MbrEntry &own = record->entries[0], &next = record->entries[1];
            if (own.type != 0 && own.sectors != 0 && !add(at + own.start, own.sectors)) return false;
            if (next.type == 0 || next.start == 0) return true;
            at = extended + next.start;
        }
        return false;
    }

    bool overlapping() {
        std::ranges::sort(found_, {}, &PartitionRange::offset);
        for (size_t i = 1; i < found_.size(); ++i)
            if (found_[i - 1].offset + found_[i - 1].length > found_[i].offset) return true;
        return false;
    }

    BlockDevice& disk_;
    const uint64_t sector_;
    std::vector<PartitionRange> found_;
};

}  // namespace

std::vector<PartitionRange> find_partitions(BlockDevice& disk, uint32_t sector_size) {
    return Finder(disk, sector_size).find();
}

}  // namespace inspect
