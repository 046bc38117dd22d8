// SPDX-License-Identifier: GPL-2.0-or-later
#include "partition_edit.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <string>

#include "base/checked.h"
#include "failure.h"
#include "partition_format.h"
#include "partition_table.h"

namespace inspect::agent {

namespace {

class Editor {
  public:
    Editor(int fd, uint64_t device_size, uint32_t sector_size, const PartitionEdit& edit)
        : fd_(fd), device_size_(device_size), sector_size_(sector_size), edit_(edit) {}

    void edit() {
        table_ = read_partition_table(fd_, device_size_, sector_size_, true);
        if (table_.type.empty()) refuse("there is none");
        if (!table_.obstacle.empty()) refuse(table_.obstacle);
        check();
        if (table_.type == "gpt") {
            edit_gpt();
        } else {
            edit_mbr();
        }
        for (const Write& write : writes_) write_out(write);
        if (::fdatasync(fd_) < 0) fail_errno("cannot write", "the partition table");
    }

  private:
    struct Write {
        uint64_t offset;
        std::vector<uint8_t> bytes;
    };

    [[noreturn]] void refuse(const std::string& why) const {
        throw Failure(proto::UNSUPPORTED, "the partition table can't be changed: " + why);
    }

    bool removed(uint32_t number) const {
        return std::find(edit_.removed.begin(), edit_.removed.end(), number) != edit_.removed.end();
    }

    uint64_t size_of(const Partition& partition) const {
        const auto found = edit_.sizes.find(partition.number);
        return found == edit_.sizes.end() ? partition.size : found->second;
    }

    // The host's planner has seen to all this; a table is not written on its word alone.
    void check() const {
        auto is_there = [&](uint32_t number) {
            return std::any_of(table_.partitions.begin(), table_.partitions.end(),
                               [&](const Partition& partition) { return partition.number == number; });
        };
        for (const auto& [number, size] : edit_.sizes) {
            if (!is_there(number)) refuse("there is no partition " + std::to_string(number));
            if (size == 0 || size % sector_size_ != 0) refuse("a size is no multiple of the sector size");
        }
        const uint64_t end = edit_.disk_size - std::min(edit_.disk_size, table_.reserved_at_end);
        for (const Partition& one : table_.partitions) {
            if (removed(one.number)) continue;
            const std::string name = "partition " + std::to_string(one.number);
            if (!range_fits(one.start, size_of(one), end))
                refuse(name + " would end behind the end of the disk");
            for (const Partition& other : table_.partitions) {
                if (other.number == one.number || removed(other.number) || one.logical != other.logical)
                    continue;
                if (one.start < other.start && one.start + size_of(one) > other.start)
                    refuse(name + " would overlap partition " + std::to_string(other.number));
            }
        }
    }

    void queue(uint64_t offset, const void* bytes, size_t size) {
        const auto* from = static_cast<const uint8_t*>(bytes);
        writes_.push_back({offset, {from, from + size}});
    }

    void write_out(const Write& write) const {
        size_t done = 0;
        while (done < write.bytes.size()) {
            const ssize_t n = ::pwrite(fd_, write.bytes.data() + done, write.bytes.size() - done,
                                       static_cast<off_t>(write.offset + done));
            if (n < 0 && errno == EINTR) continue;
            if (n <= 0) fail_errno("cannot write", "the partition table");
            done += static_cast<size_t>(n);
        }
    }

    Mbr read_mbr(uint64_t offset) const {
        Mbr mbr;
        if (!read_table_bytes(fd_, device_size_, offset, &mbr, sizeof mbr)) refuse("it is damaged");
        return mbr;
    }

    // ---- GPT

    void edit_gpt() {
        std::optional<GptCopy> copy = read_gpt_copy(fd_, device_size_, sector_size_, 1);
        if (!copy) refuse("it is damaged");
        GptHeader& header = copy->header;
        for (uint32_t i = 0; i < header.entry_count; ++i) change_entry(*copy, i);
        const uint64_t entry_sectors = (copy->entries.size() + sector_size_ - 1) / sector_size_;
        const std::optional<uint64_t> old_backup = backup_in_nobodys_way(header);
        const uint64_t last_lba = edit_.disk_size / sector_size_ - 1;
        header.last_usable = last_lba - entry_sectors - 1;
        header.alternate_lba = last_lba;
        const uint64_t entries_lba = header.entries_lba;
        queue(entries_lba * sector_size_, copy->entries.data(), copy->entries.size());
        queue_header(*copy, 1);

        header.my_lba = last_lba;
        header.alternate_lba = 1;
        header.entries_lba = last_lba - entry_sectors;
        queue(header.entries_lba * sector_size_, copy->entries.data(), copy->entries.size());
        queue_header(*copy, last_lba);
        // No tool shall find the old backup where it no longer counts.
        if (old_backup && *old_backup < header.entries_lba) {
            const std::vector<uint8_t> zeros(sector_size_);
            queue(*old_backup * sector_size_, zeros.data(), zeros.size());
        }
        protect(last_lba);
    }

    // The sector of the header that the table calls its backup, if that is what is in it: the image's word
    // alone would make it any sector.
    std::optional<uint64_t> backup_in_nobodys_way(const GptHeader& header) const {
        const uint64_t lba = header.alternate_lba;
        if (lba <= header.last_usable || !read_gpt_copy(fd_, device_size_, sector_size_, lba))
            return std::nullopt;
        const uint64_t at = lba * sector_size_;
        const bool taken =
            std::any_of(table_.partitions.begin(), table_.partitions.end(), [&](const Partition& partition) {
                return at >= partition.start && at - partition.start < partition.size;
            });
        return taken ? std::nullopt : std::optional(lba);
    }

    void change_entry(GptCopy& copy, uint32_t index) {
        uint8_t* bytes = copy.entries.data() + static_cast<size_t>(index) * copy.header.entry_size;
        if (removed(index + 1)) {
            std::memset(bytes, 0, copy.header.entry_size);
            return;
        }
        const auto found = edit_.sizes.find(index + 1);
        if (found == edit_.sizes.end()) return;
        GptEntry entry;
        std::memcpy(&entry, bytes, sizeof entry);
        entry.last = entry.first + found->second / sector_size_ - 1;
        std::memcpy(bytes, &entry, sizeof entry);
    }

    void queue_header(GptCopy& copy, uint64_t lba) {
        copy.seal();
        queue(lba * sector_size_, copy.sector.data(), copy.sector.size());
    }

    // The protective MBR covers all of the disk.
    void protect(uint64_t last_lba) {
        Mbr mbr = read_mbr(0);
        for (MbrEntry& entry : mbr.entries) {
            if (entry.type == kProtective) {
                entry.size =
                    static_cast<uint32_t>(std::min<uint64_t>(last_lba - entry.start + 1, UINT32_MAX));
            }
        }
        queue(0, &mbr, sizeof mbr);
    }

    // ---- MBR

    void set_size(MbrEntry& entry, uint64_t first_sector, uint64_t size) const {
        const uint64_t sectors = size / sector_size_;
        if (sectors > UINT32_MAX) refuse("a partition would have more sectors than an MBR can say");
        entry.size = static_cast<uint32_t>(sectors);
        set_chs(entry.last_chs, first_sector + sectors - 1);
    }

    // For 255 heads and 63 sectors, which is what everybody assumes; nobody reads it any more.
    static void set_chs(uint8_t (&chs)[3], uint64_t sector) {
        constexpr uint64_t kHeads = 255, kSectors = 63, kCylinders = 1024;
        uint64_t cylinder = sector / (kHeads * kSectors);
        uint64_t head = sector / kSectors % kHeads;
        uint64_t number = sector % kSectors + 1;
        if (cylinder >= kCylinders) {
            cylinder = kCylinders - 1;
            head = kHeads - 1;
            number = kSectors;
        }
        chs[0] = static_cast<uint8_t>(head);
        chs[1] = static_cast<uint8_t>(number | (cylinder >> 2 & 0xc0));
        chs[2] = static_cast<uint8_t>(cylinder);
    }

    void edit_mbr() {
        Mbr mbr = read_mbr(0);
        bool changed = false;
        for (const Partition& partition : table_.partitions) {
            if (partition.logical) continue;
            MbrEntry& entry = mbr.entries[partition.number - 1];
            if (removed(partition.number)) {
                std::memset(&entry, 0, sizeof entry);
                changed = true;
            } else if (size_of(partition) != partition.size) {
                set_size(entry, entry.start, size_of(partition));
                changed = true;
            }
        }
        if (changed) queue(0, &mbr, sizeof mbr);
        edit_logical();
    }

    // Each logical partition has a record of its own, in which it is the first entry, and an entry in the
    // record before it that covers both.
    void edit_logical() {
        std::map<uint64_t, Mbr> records;  // by offset
        const Partition* before = nullptr;
        for (const Partition& partition : table_.partitions) {
            if (!partition.logical) continue;
            records.try_emplace(partition.record, read_mbr(partition.record));
            if (size_of(partition) != partition.size) {
                MbrEntry& entry = records[partition.record].entries[0];
                set_size(entry, partition.start / sector_size_, size_of(partition));
                if (before) {
                    const uint64_t whole = partition.start + size_of(partition) - partition.record;
                    for (MbrEntry& link : records[before->record].entries) {
                        if (link.size != 0 && is_extended(link.type))
                            set_size(link, partition.record / sector_size_, whole);
                    }
                }
                changed_records_.push_back(partition.record);
                if (before) changed_records_.push_back(before->record);
            }
            before = &partition;
        }
        for (const auto& [offset, record] : records) {
            if (std::find(changed_records_.begin(), changed_records_.end(), offset) != changed_records_.end())
                queue(offset, &record, sizeof record);
        }
    }

    int fd_;
    uint64_t device_size_;
    uint32_t sector_size_;
    const PartitionEdit& edit_;
    PartitionTable table_;
    std::vector<Write> writes_;
    std::vector<uint64_t> changed_records_;
};

}  // namespace

void edit_partition_table(int fd, uint64_t device_size, uint32_t sector_size, const PartitionEdit& edit) {
    Editor(fd, device_size, sector_size, edit).edit();
}

}  // namespace inspect::agent
