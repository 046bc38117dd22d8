// SPDX-License-Identifier: GPL-2.0-or-later
#include "partition_format.h"

#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstring>

#include "base/checked.h"
#include "crc.h"
#include "failure.h"
#include "partition_table.h"

namespace inspect::agent {

namespace {

constexpr uint64_t kMaxEntryBytes = 1 << 20;

}  // namespace

bool read_table_bytes(int fd, uint64_t disk_size, uint64_t offset, void* out, size_t size) {
    if (!range_fits(offset, size, disk_size)) return false;
    size_t done = 0;
    while (done < size) {
        ssize_t n =
            ::pread(fd, static_cast<char*>(out) + done, size - done, static_cast<off_t>(offset + done));
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) throw Failure::from_errno("cannot read the partition table", errno);
        if (n == 0) return false;
        done += static_cast<size_t>(n);
    }
    return true;
}

void GptCopy::seal() {
    header.entries_crc = crc32(entries.data(), entries.size());
    header.header_crc = 0;
    std::memcpy(sector.data(), &header, sizeof header);
    header.header_crc = crc32(sector.data(), header.header_size);
    std::memcpy(sector.data(), &header, sizeof header);
}

std::optional<GptCopy> read_gpt_copy(int fd, uint64_t disk_size, uint32_t sector_size, uint64_t lba) {
    GptCopy copy;
    copy.sector.resize(sector_size);
    std::optional<uint64_t> offset = checked_mul<uint64_t>(lba, sector_size);
    if (!offset || !read_table_bytes(fd, disk_size, *offset, copy.sector.data(), copy.sector.size()))
        return std::nullopt;
    GptHeader& header = copy.header;
    std::memcpy(&header, copy.sector.data(), sizeof header);
    if (std::memcmp(header.magic, "EFI PART", 8) != 0 || header.my_lba != lba) return std::nullopt;
    if (header.header_size < sizeof header || header.header_size > sector_size) return std::nullopt;
    std::vector<uint8_t> unsigned_header = copy.sector;
    std::memset(unsigned_header.data() + offsetof(GptHeader, header_crc), 0, 4);
    if (crc32(unsigned_header.data(), header.header_size) != header.header_crc) return std::nullopt;
    // A last usable sector past the end is no reason to refuse: the image may be cut short, and what is left
    // of it is wanted all the more.
    if (header.first_usable > header.last_usable) return std::nullopt;
    uint64_t bytes = static_cast<uint64_t>(header.entry_count) * header.entry_size;
    if (header.entry_size < sizeof(GptEntry) || bytes > kMaxEntryBytes) return std::nullopt;
    std::optional<uint64_t> entries_at = checked_mul<uint64_t>(header.entries_lba, sector_size);
    copy.entries.resize(bytes);
    if (!entries_at || !read_table_bytes(fd, disk_size, *entries_at, copy.entries.data(), bytes))
        return std::nullopt;
    if (crc32(copy.entries.data(), bytes) != header.entries_crc) return std::nullopt;
    return copy;
}

}  // namespace inspect::agent
