// SPDX-License-Identifier: GPL-2.0-or-later
#include "partition_table.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <optional>

#include "base/checked.h"
#include "base/endian.h"
#include "failure.h"
#include "partition_format.h"

namespace inspect::agent {

namespace {

constexpr uint32_t kMaxPartitions = 255;  // the kernel's bound
constexpr unsigned kMaxLogical = 128;
// Of a table: an intruder can think of very many, above all of partitions that overlap.
constexpr size_t kMaxTableWarnings = 100, kMaxOverlaps = 50;

std::string format_guid(const uint8_t (&g)[16]) {
    char text[37];
    std::snprintf(text, sizeof text, "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x",
                  g[3], g[2], g[1], g[0], g[5], g[4], g[7], g[6], g[8], g[9], g[10], g[11], g[12], g[13],
                  g[14], g[15]);
    return text;
}

void append_utf8(std::string& out, uint32_t c) {
    if (c < 0x80) {
        out += static_cast<char>(c);
    } else if (c < 0x800) {
        out += static_cast<char>(0xc0 | c >> 6);
        out += static_cast<char>(0x80 | (c & 0x3f));
    } else if (c < 0x10000) {
        out += static_cast<char>(0xe0 | c >> 12);
        out += static_cast<char>(0x80 | (c >> 6 & 0x3f));
        out += static_cast<char>(0x80 | (c & 0x3f));
    } else {
        out += static_cast<char>(0xf0 | c >> 18);
        out += static_cast<char>(0x80 | (c >> 12 & 0x3f));
        out += static_cast<char>(0x80 | (c >> 6 & 0x3f));
        out += static_cast<char>(0x80 | (c & 0x3f));
    }
}

std::string utf16_name(const le16 (&name)[36]) {
    std::string out;
    for (size_t i = 0; i < 36 && name[i] != 0; ++i) {
        uint32_t c = name[i];
        if (c >= 0xd800 && c < 0xdc00 && i + 1 < 36 && name[i + 1] >= 0xdc00 && name[i + 1] < 0xe000) {
            c = 0x10000 + ((c - 0xd800) << 10) + (name[i + 1] - 0xdc00u);
            ++i;
        } else if (c >= 0xd800 && c < 0xe000) {
            c = 0xfffd;  // half a pair
        }
        append_utf8(out, c);
    }
    return out;
}

class Reader {
  public:
    Reader(int fd, uint64_t disk_size, uint32_t sector_size, bool thorough)
        : fd_(fd), disk_size_(disk_size), sector_size_(sector_size), thorough_(thorough) {}

    PartitionTable read();

  private:
    bool read_sector(uint64_t lba, Mbr& out) const;
    bool read_gpt();
    void check_backup(const GptCopy& copy, uint64_t last_lba);
    void read_mbr(const Mbr& mbr);
    void read_logical(uint64_t first, uint64_t sectors, uint32_t signature);
    void add(uint32_t number, uint64_t first_sector, uint64_t sectors, Partition partition);
    void warn(std::string text, size_t most = kMaxTableWarnings) {
        if (table_.warnings.size() < most) {
            table_.warnings.push_back(std::move(text));
        } else {
            ++unsaid_;
        }
    }
    // What is described there is not known, and would be taken for free space.
    void leave_out(const std::string& what) {
        warn(what);
        if (table_.obstacle.empty()) table_.obstacle = what + "; repair it first (sfdisk, gdisk)";
    }

    int fd_;
    uint64_t disk_size_;
    uint32_t sector_size_;
    bool thorough_;
    PartitionTable table_;
    size_t unsaid_ = 0;  // warnings
};

bool Reader::read_sector(uint64_t lba, Mbr& out) const {
    std::optional<uint64_t> offset = checked_mul<uint64_t>(lba, sector_size_);
    return offset && read_table_bytes(fd_, disk_size_, *offset, &out, sizeof out);
}

void Reader::check_backup(const GptCopy& copy, uint64_t last_lba) {
    if (copy.header.alternate_lba > last_lba)
        return warn("the GPT says that the disk is larger than it is: the image may be cut short");
    // Where partitions may be is no place for it, and the first copy isn't its own backup.
    if (copy.header.alternate_lba <= copy.header.last_usable)
        return warn("the GPT's backup is damaged or missing");
    std::optional<GptCopy> backup = read_gpt_copy(fd_, disk_size_, sector_size_, copy.header.alternate_lba);
    if (!backup) return warn("the GPT's backup is damaged or missing");
    if (backup->entries == copy.entries &&
        std::memcmp(backup->header.disk_guid, copy.header.disk_guid, sizeof copy.header.disk_guid) == 0)
        return;
    warn("the GPT and its backup differ");
    table_.obstacle =
        "its two copies differ; find out which one is right and make the other like it (gdisk does)";
}

bool Reader::read_gpt() {
    uint64_t last_lba = disk_size_ / sector_size_ - 1;
    auto copy_at = [&](uint64_t lba) { return read_gpt_copy(fd_, disk_size_, sector_size_, lba); };
    std::optional<GptCopy> copy = copy_at(1);
    if (!copy) {
        copy = copy_at(last_lba);
        if (!copy) {
            char magic[8];
            uint32_t other = sector_size_ == 512 ? 4096 : 512;
            bool mismatch = read_table_bytes(fd_, disk_size_, other, magic, sizeof magic) &&
                            std::memcmp(magic, "EFI PART", 8) == 0;
            warn(mismatch ? "the GPT was made for sectors of " + std::to_string(other) +
                                " bytes, and the disk was opened with " + std::to_string(sector_size_)
                          : std::string(
                                "there is a protective MBR, but the GPT is damaged, and so is its backup"));
            // Its backup may be where the disk ended before.
            table_.obstacle =
                mismatch ? "it was made for sectors of another size (--blocksize)"
                         : "the first of its two copies is damaged; repair it (gdisk's recovery menu does)";
            return false;
        }
        warn("the GPT is damaged: its backup at the end of the disk is used");
        table_.obstacle = "the first of its two copies is damaged; repair it (gdisk's recovery menu does)";
    } else if (thorough_) {
        check_backup(*copy, last_lba);
    }
    const GptHeader* header = &copy->header;
    const std::vector<uint8_t>& entries = copy->entries;
    const uint64_t entry_sectors = (entries.size() + sector_size_ - 1) / sector_size_;
    table_.reserved_at_end = (entry_sectors + 1) * sector_size_;
    table_.type = "gpt";
    table_.id = format_guid(header->disk_guid);
    static constexpr uint8_t kUnused[16] = {};
    for (uint32_t i = 0; i < header->entry_count; ++i) {
        GptEntry entry;
        std::memcpy(&entry, entries.data() + static_cast<size_t>(i) * header->entry_size, sizeof entry);
        if (std::memcmp(entry.type, kUnused, sizeof kUnused) == 0) continue;
        if (entry.last < entry.first) {
            leave_out("partition " + std::to_string(i + 1) + " ends before it begins");
            continue;
        }
        if (i >= kMaxPartitions) {
            leave_out("there are more than 255 partitions: the others are left out");
            break;
        }
        Partition partition{};
        partition.type = format_guid(entry.type);
        partition.uuid = format_guid(entry.guid);
        partition.label = utf16_name(entry.name);
        partition.attributes = entry.attributes;
        add(i + 1, entry.first, entry.last - entry.first + 1, std::move(partition));
    }
    return true;
}

// Adds a partition, cut at the disk's end; one that begins past it is left out.
void Reader::add(uint32_t number, uint64_t first_sector, uint64_t sectors, Partition partition) {
    std::string name = "partition " + std::to_string(number);
    std::optional<uint64_t> start = checked_mul<uint64_t>(first_sector, sector_size_);
    if (!start || *start >= disk_size_) {
        leave_out(name + " begins past the end of the disk");
        return;
    }
    std::optional<uint64_t> size = checked_mul<uint64_t>(sectors, sector_size_);
    partition.number = number;
    partition.start = *start;
    partition.size = size.value_or(UINT64_MAX);
    if (!range_fits(partition.start, partition.size, disk_size_)) {
        warn(name + " ends past the end of the disk: the image may be cut short");
        partition.size = disk_size_ - partition.start;
    }
    for (const Partition& other : table_.partitions) {
        if (partition.container || other.container) continue;
        if (partition.start < other.start + other.size && other.start < partition.start + partition.size)
            warn(name + " overlaps partition " + std::to_string(other.number), kMaxOverlaps);
    }
    table_.partitions.push_back(std::move(partition));
}

std::string mbr_id(uint32_t signature) {
    char text[16];
    std::snprintf(text, sizeof text, "0x%08x", signature);
    return text;
}

std::string mbr_uuid(uint32_t signature, uint32_t number) {
    char text[16];
    std::snprintf(text, sizeof text, "%08x-%02x", signature, number);
    return text;
}

Partition mbr_partition(uint8_t type, bool active, uint32_t signature, uint32_t number) {
    Partition partition{};
    char text[8];
    std::snprintf(text, sizeof text, "0x%02x", type);
    partition.type = text;
    if (signature != 0) partition.uuid = mbr_uuid(signature, number);
    partition.container = is_extended(type);
    partition.attributes = active ? 1 : 0;
    return partition;
}

void Reader::read_mbr(const Mbr& mbr) {
    table_.type = "dos";
    table_.id = mbr_id(mbr.signature);
    for (uint32_t i = 0; i < 4; ++i) {
        const MbrEntry& entry = mbr.entries[i];
        if (entry.size == 0 || entry.start == 0) continue;
        add(i + 1, entry.start, entry.size,
            mbr_partition(entry.type, entry.boot == 0x80, mbr.signature, i + 1));
    }
    for (const MbrEntry& entry : mbr.entries) {
        if (entry.size != 0 && is_extended(entry.type)) read_logical(entry.start, entry.size, mbr.signature);
    }
}

// The chain of an extended partition's EBRs. Each holds one partition (relative to itself) and a link
// (relative to the extended partition); what else the kernel reads from odd ones is numbered as the kernel
// does.
void Reader::read_logical(uint64_t first, uint64_t sectors, uint32_t signature) {
    uint32_t number = 5;
    for (const Partition& partition : table_.partitions) number = std::max(number, partition.number + 1);
    uint64_t at = first;
    uint64_t at_size = sectors;
    for (unsigned count = 0;; ++count) {
        if (count == kMaxLogical) return leave_out("the chain of logical partitions does not end");
        Mbr ebr;
        if (!read_sector(at, ebr) || !ebr.has_magic())
            return leave_out("the chain of logical partitions is broken");
        for (unsigned i = 0; i < 4; ++i) {
            const MbrEntry& entry = ebr.entries[i];
            if (entry.size == 0 || is_extended(entry.type)) continue;
            uint64_t start = at + entry.start;
            // The third and the fourth are often garbage.
            if (i >= 2 && (static_cast<uint64_t>(entry.start) + entry.size > at_size || start < first ||
                           start + entry.size > first + sectors))
                continue;
            Partition partition = mbr_partition(entry.type, entry.boot == 0x80, signature, number);
            partition.logical = true;
            partition.record = at * sector_size_;
            // Where a logical partition is described in the way of one only, its size can be changed safely.
            if (i != 0) table_.obstacle = "its logical partitions are described in an unusual way";
            add(number, start, entry.size, std::move(partition));
            ++number;
        }
        const MbrEntry* link = nullptr;
        for (const MbrEntry& entry : ebr.entries) {
            if (!link && entry.size != 0 && is_extended(entry.type)) link = &entry;
        }
        if (!link) return;
        at = first + link->start;
        at_size = link->size;
    }
}

PartitionTable Reader::read() {
    Mbr mbr;
    if (disk_size_ < 3 * static_cast<uint64_t>(sector_size_) || !read_sector(0, mbr) || !mbr.has_magic())
        return std::move(table_);
    bool protective = false;
    bool hybrid = false;
    bool plausible = true;
    bool any = false;
    for (const MbrEntry& entry : mbr.entries) {
        protective = protective || entry.type == kProtective;
        hybrid = hybrid || (entry.type != kProtective && entry.type != 0 && entry.size != 0);
        // A boot sector with code where the table would be.
        plausible = plausible && (entry.boot == 0 || entry.boot == 0x80);
        // One that starts at sector 0 is mkfs.fat's imitation of a table around the whole disk.
        any = any || (entry.size != 0 && entry.start != 0);
    }
    if (protective) {
        if (read_gpt() && hybrid)
            table_.obstacle =
                "it is a hybrid one, whose MBR would say something else than its GPT afterwards; make the "
                "MBR a protective one (gdisk: x, n) or resize with the tool that made it";
    } else if (plausible && any) {
        read_mbr(mbr);
    }
    std::sort(table_.partitions.begin(), table_.partitions.end(),
              [](const Partition& a, const Partition& b) { return a.number < b.number; });
    if (unsaid_ > 0) table_.warnings.push_back("and " + std::to_string(unsaid_) + " more of this kind");
    return std::move(table_);
}

}  // namespace

PartitionTable read_partition_table(int fd, uint64_t disk_size, uint32_t sector_size, bool thorough) {
    return Reader(fd, disk_size, sector_size, thorough).read();
}

}  // namespace inspect::agent
