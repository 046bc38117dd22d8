// SPDX-License-Identifier: GPL-2.0-or-later
#include "table_ids.h"

#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstring>
#include <utility>

#include "base/fd.h"
#include "contents_id.h"
#include "failure.h"
#include "partition_format.h"

namespace inspect::agent {

namespace {

// On disks the first three fields are little-endian (UEFI 2.10, appendix A).
void store_guid(const std::string& text, uint8_t (&out)[16]) {
    parse_uuid(text, out);
    std::swap(out[0], out[3]);
    std::swap(out[1], out[2]);
    std::swap(out[4], out[5]);
    std::swap(out[6], out[7]);
}

void change(GptCopy& copy, const TableIds& ids) {
    if (!ids.disk.empty()) store_guid(ids.disk, copy.header.disk_guid);
    for (const auto& [number, id] : ids.partitions) {
        if (number == 0 || number > copy.header.entry_count)
            throw Failure(proto::USAGE, "there is no partition " + std::to_string(number), EINVAL);
        uint8_t* bytes = copy.entries.data() + static_cast<size_t>(number - 1) * copy.header.entry_size;
        GptEntry entry;
        std::memcpy(&entry, bytes, sizeof entry);
        store_guid(id, entry.guid);
        std::memcpy(bytes, &entry, sizeof entry);
    }
    copy.seal();
}

void write(int fd, const void* data, size_t size, uint64_t offset) {
    pwrite_full(fd, std::as_bytes(std::span(static_cast<const uint8_t*>(data), size)), offset,
                "write a partition table");
}

void set_gpt(int fd, uint64_t disk_size, uint32_t sector_size, const TableIds& ids) {
    const std::optional<GptCopy> first = read_gpt_copy(fd, disk_size, sector_size, 1);
    const uint64_t backup_lba = first ? uint64_t{first->header.alternate_lba} : disk_size / sector_size - 1;
    const std::optional<GptCopy> backup = read_gpt_copy(fd, disk_size, sector_size, backup_lba);
    if (!first && !backup) throw Failure(proto::CORRUPT, "both copies of the GPT are damaged");
    for (std::optional<GptCopy> copy : {backup, first}) {
        if (!copy) continue;
        change(*copy, ids);
        write(fd, copy->entries.data(), copy->entries.size(), copy->header.entries_lba * sector_size);
        write(fd, copy->sector.data(), copy->sector.size(), copy->header.my_lba * sector_size);
    }
}

}  // namespace

void set_table_ids(int fd, uint64_t disk_size, uint32_t sector_size, const TableIds& ids) {
    Mbr mbr;
    if (!read_table_bytes(fd, disk_size, 0, &mbr, sizeof mbr) || !mbr.has_magic())
        throw Failure(proto::CORRUPT, "there is no partition table");
    bool protective = false;
    for (const MbrEntry& entry : mbr.entries) protective = protective || entry.type == kProtective;
    if (protective) {
        set_gpt(fd, disk_size, sector_size, ids);
    } else {
        uint32_t signature = 0;
        const std::string& text = ids.disk;
        const char* const end = text.data() + text.size();
        std::from_chars_result parsed{nullptr, {}};
        if (text.starts_with("0x")) parsed = std::from_chars(text.data() + 2, end, signature, 16);
        if (parsed.ptr != end || parsed.ec != std::errc() || !ids.partitions.empty())
            throw Failure(proto::USAGE, "identifiers that are none of an MBR", EINVAL);
        mbr.signature = signature;
        write(fd, &mbr, sizeof mbr, 0);
    }
    if (::fsync(fd) < 0) fail_errno("cannot write", "a partition table");
}

}  // namespace inspect::agent
