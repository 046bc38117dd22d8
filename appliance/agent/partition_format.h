// SPDX-License-Identifier: GPL-2.0-or-later
//
// Partition tables as they are on disks, and reading one copy of a GPT. Sources: UEFI 2.10 section 5 (GPT);
// the de facto MBR layout.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "base/endian.h"

namespace inspect::agent {

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

inline constexpr uint8_t kProtective = 0xee;

inline bool is_extended(uint8_t type) { return type == 0x05 || type == 0x0f || type == 0x85; }

// One of a GPT's two copies.
struct GptCopy {
    GptHeader header;
    std::vector<uint8_t> sector;   // that the header is in, with whatever is behind it
    std::vector<uint8_t> entries;  // entry_count of entry_size

    // Both checksums are made to fit, and `sector` to have the header.
    void seal();
};

// The copy whose header is at `lba`. nullopt: there is none, or it contradicts itself. Throws Failure when
// the disk can't be read.
std::optional<GptCopy> read_gpt_copy(int fd, uint64_t disk_size, uint32_t sector_size, uint64_t lba);

// Reads all of [offset, offset + size). False: that is not within the disk. Throws Failure.
bool read_table_bytes(int fd, uint64_t disk_size, uint64_t offset, void* out, size_t size);

}  // namespace inspect::agent
