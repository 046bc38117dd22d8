// SPDX-License-Identifier: GPL-2.0-or-later
#include "partition_table.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <optional>
#include <span>

#include "base/checked.h"
#include "base/endian.h"
#include "failure.h"

namespace inspect::agent {

namespace {

constexpr uint32_t kMaxPartitions = 255;      // the kernel's bound
constexpr uint64_t kMaxEntryBytes = 1 << 20;  // of a GPT's array
constexpr unsigned kMaxLogical = 128;

struct MbrEntry {
    uint8_t boot;
    uint8_t first_chs[3];
    uint8_t type;
    uint8_t last_chs[3];
    le32 start;  // sectors
    le32 size;
};
static_assert(sizeof(MbrEntry) == 16);

struct Mbr {
    uint8_t code[440];
    le32 signature;
    uint8_t unused[2];
    MbrEntry entries[4];
    uint8_t magic[2];

    bool has_magic() const { return magic[0] == 0x55 && magic[1] == 0xaa; }
};
static_assert(sizeof(Mbr) == 512);

struct GptHeader {
    char magic[8];
    le32 revision;
    le32 header_size;
    le32 header_crc;
    le32 reserved;
    le64 my_lba;
    le64 alternate_lba;
    le64 first_usable;
    le64 last_usable;
    uint8_t disk_guid[16];
    le64 entries_lba;
    le32 entry_count;
    le32 entry_size;
    le32 entries_crc;
};
static_assert(sizeof(GptHeader) == 92);

struct GptEntry {
    uint8_t type[16];
    uint8_t guid[16];
    le64 first;
    le64 last;  // inclusive
    le64 attributes;
    le16 name[36];
};
static_assert(sizeof(GptEntry) == 128);

constexpr uint8_t kProtective = 0xee;

bool is_extended(uint8_t type) { return type == 0x05 || type == 0x0f || type == 0x85; }

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
    // False: not within the disk.
    bool read_at(uint64_t offset, void* out, size_t size) const;
    bool read_sector(uint64_t lba, Mbr& out) const;
    std::optional<GptHeader> gpt_header(uint64_t lba, std::vector<uint8_t>& entries) const;
    bool read_gpt();
    void read_mbr(const Mbr& mbr);
    void read_logical(uint64_t first, uint64_t sectors, uint32_t signature);
    void add(uint32_t number, uint64_t first_sector, uint64_t sectors, Partition partition);
    void warn(std::string text) { table_.warnings.push_back(std::move(text)); }

    int fd_;
    uint64_t disk_size_;
    uint32_t sector_size_;
    bool thorough_;
    PartitionTable table_;
};

bool Reader::read_at(uint64_t offset, void* out, size_t size) const {
    if (!range_fits(offset, size, disk_size_)) return false;
    size_t done = 0;
    while (done < size) {
        ssize_t n =
            ::pread(fd_, static_cast<char*>(out) + done, size - done, static_cast<off_t>(offset + done));
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) throw Failure::from_errno("cannot read the partition table", errno);
        if (n == 0) return false;
        done += static_cast<size_t>(n);
    }
    return true;
}

bool Reader::read_sector(uint64_t lba, Mbr& out) const {
    std::optional<uint64_t> offset = checked_mul<uint64_t>(lba, sector_size_);
    return offset && read_at(*offset, &out, sizeof out);
}

std::optional<GptHeader> Reader::gpt_header(uint64_t lba, std::vector<uint8_t>& entries) const {
    std::vector<uint8_t> sector(sector_size_);
    std::optional<uint64_t> offset = checked_mul<uint64_t>(lba, sector_size_);
    if (!offset || !read_at(*offset, sector.data(), sector.size())) return std::nullopt;
    GptHeader header;
    std::memcpy(&header, sector.data(), sizeof header);
    if (std::memcmp(header.magic, "EFI PART", 8) != 0 || header.my_lba != lba) return std::nullopt;
    if (header.header_size < sizeof header || header.header_size > sector_size_) return std::nullopt;
    std::memset(sector.data() + offsetof(GptHeader, header_crc), 0, 4);
    if (crc32(sector.data(), header.header_size) != header.header_crc) return std::nullopt;
    // A last usable sector past the end is no reason to refuse: the image may be cut short, and what is left
    // of it is wanted all the more.
    if (header.first_usable > header.last_usable) return std::nullopt;
    uint64_t bytes = static_cast<uint64_t>(header.entry_count) * header.entry_size;
    if (header.entry_size < sizeof(GptEntry) || bytes > kMaxEntryBytes) return std::nullopt;
    std::optional<uint64_t> entries_at = checked_mul<uint64_t>(header.entries_lba, sector_size_);
    entries.resize(bytes);
    if (!entries_at || !read_at(*entries_at, entries.data(), bytes)) return std::nullopt;
    if (crc32(entries.data(), bytes) != header.entries_crc) return std::nullopt;
    return header;
}

bool Reader::read_gpt() {
    uint64_t last_lba = disk_size_ / sector_size_ - 1;
    std::vector<uint8_t> entries;
    std::optional<GptHeader> header = gpt_header(1, entries);
    if (!header) {
        header = gpt_header(last_lba, entries);
        if (!header) {
            char magic[8];
            uint32_t other = sector_size_ == 512 ? 4096 : 512;
            bool mismatch = read_at(other, magic, sizeof magic) && std::memcmp(magic, "EFI PART", 8) == 0;
            warn(mismatch ? "the GPT was made for sectors of " + std::to_string(other) +
                                " bytes, and the disk was opened with " + std::to_string(sector_size_)
                          : std::string(
                                "there is a protective MBR, but the GPT is damaged, and so is its backup"));
            return false;
        }
        warn("the GPT is damaged: its backup at the end of the disk is used");
    } else if (thorough_) {
        std::vector<uint8_t> backup_entries;
        if (header->alternate_lba > last_lba) {
            warn("the GPT says that the disk is larger than it is: the image may be cut short");
        } else if (!gpt_header(header->alternate_lba, backup_entries)) {
            warn("the GPT's backup is damaged or missing");
        } else if (backup_entries != entries) {
            warn("the GPT and its backup differ");
        }
    }
    table_.type = "gpt";
    static constexpr uint8_t kUnused[16] = {};
    for (uint32_t i = 0; i < header->entry_count; ++i) {
        GptEntry entry;
        std::memcpy(&entry, entries.data() + static_cast<size_t>(i) * header->entry_size, sizeof entry);
        if (std::memcmp(entry.type, kUnused, sizeof kUnused) == 0) continue;
        if (entry.last < entry.first) {
            warn("partition " + std::to_string(i + 1) + " ends before it begins");
            continue;
        }
        if (i >= kMaxPartitions) {
            warn("there are more than 255 partitions: the others are left out");
            break;
        }
        Partition partition{};
        partition.type = format_guid(entry.type);
        partition.uuid = format_guid(entry.guid);
        partition.label = utf16_name(entry.name);
        add(i + 1, entry.first, entry.last - entry.first + 1, std::move(partition));
    }
    return true;
}

// Adds a partition, cut at the disk's end; one that begins past it is left out.
void Reader::add(uint32_t number, uint64_t first_sector, uint64_t sectors, Partition partition) {
    std::string name = "partition " + std::to_string(number);
    std::optional<uint64_t> start = checked_mul<uint64_t>(first_sector, sector_size_);
    if (!start || *start >= disk_size_) {
        warn(name + " begins past the end of the disk");
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
            warn(name + " overlaps partition " + std::to_string(other.number));
    }
    table_.partitions.push_back(std::move(partition));
}

std::string mbr_uuid(uint32_t signature, uint32_t number) {
    char text[16];
    std::snprintf(text, sizeof text, "%08x-%02x", signature, number);
    return text;
}

Partition mbr_partition(uint8_t type, uint32_t signature, uint32_t number) {
    Partition partition{};
    char text[8];
    std::snprintf(text, sizeof text, "0x%02x", type);
    partition.type = text;
    if (signature != 0) partition.uuid = mbr_uuid(signature, number);
    partition.container = is_extended(type);
    return partition;
}

void Reader::read_mbr(const Mbr& mbr) {
    table_.type = "dos";
    for (uint32_t i = 0; i < 4; ++i) {
        const MbrEntry& entry = mbr.entries[i];
        if (entry.size == 0 || entry.start == 0) continue;
        add(i + 1, entry.start, entry.size, mbr_partition(entry.type, mbr.signature, i + 1));
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
        if (count == kMaxLogical) return warn("the chain of logical partitions does not end");
        Mbr ebr;
        if (!read_sector(at, ebr) || !ebr.has_magic())
            return warn("the chain of logical partitions is broken");
        for (unsigned i = 0; i < 4; ++i) {
            const MbrEntry& entry = ebr.entries[i];
            if (entry.size == 0 || is_extended(entry.type)) continue;
            uint64_t start = at + entry.start;
            // The third and the fourth are often garbage.
            if (i >= 2 && (static_cast<uint64_t>(entry.start) + entry.size > at_size || start < first ||
                           start + entry.size > first + sectors))
                continue;
            add(number, start, entry.size, mbr_partition(entry.type, signature, number));
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
    bool plausible = true;
    bool any = false;
    for (const MbrEntry& entry : mbr.entries) {
        protective = protective || entry.type == kProtective;
        // A boot sector with code where the table would be.
        plausible = plausible && (entry.boot == 0 || entry.boot == 0x80);
        // One that starts at sector 0 is mkfs.fat's imitation of a table around the whole disk.
        any = any || (entry.size != 0 && entry.start != 0);
    }
    if (protective) {
        read_gpt();
    } else if (plausible && any) {
        read_mbr(mbr);
    }
    std::sort(table_.partitions.begin(), table_.partitions.end(),
              [](const Partition& a, const Partition& b) { return a.number < b.number; });
    return std::move(table_);
}

}  // namespace

uint32_t crc32(const void* data, size_t size) {
    static constexpr std::array<uint32_t, 256> kTable = [] {
        std::array<uint32_t, 256> table{};
        for (uint32_t i = 0; i < 256; ++i) {
            uint32_t value = i;
            for (int bit = 0; bit < 8; ++bit) value = value >> 1 ^ (value & 1 ? 0xedb88320u : 0);
            table[i] = value;
        }
        return table;
    }();
    uint32_t crc = ~0u;
    for (uint8_t byte : std::span(static_cast<const uint8_t*>(data), size))
        crc = crc >> 8 ^ kTable[(crc ^ byte) & 0xff];
    return ~crc;
}

PartitionTable read_partition_table(int fd, uint64_t disk_size, uint32_t sector_size, bool thorough) {
    return Reader(fd, disk_size, sector_size, thorough).read();
}

}  // namespace inspect::agent
