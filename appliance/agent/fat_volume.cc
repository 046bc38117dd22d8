// SPDX-License-Identifier: GPL-2.0-or-later
#include "fat_volume.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "base/fd.h"
#include "base/zeros.h"

namespace inspect::agent {

void refuse_fat(const std::string& why) {
    throw Failure(proto::CORRUPT, "the FAT contradicts itself: " + why + "; repair it first (insp fsck)");
}

void refuse_truncated_fat() {
    throw Failure(proto::CORRUPT, "the file system is longer than what it lies on");
}

void FatVolume::read(uint64_t at, std::span<uint8_t> out) const {
    if (pread_full(fd_, std::as_writable_bytes(out), offset_ + at, "cannot read the file system") !=
        out.size())
        refuse_truncated_fat();
}

void FatVolume::write(uint64_t at, std::span<const uint8_t> in) const {
    pwrite_full(fd_, std::as_bytes(in), offset_ + at, "cannot write the file system");
}

void FatVolume::update(uint64_t at, std::span<const uint8_t> in) const {
    std::vector<uint8_t> before(in.size());
    read(at, before);
    if (std::equal(in.begin(), in.end(), before.begin())) return;
    constexpr size_t kMany = 64 << 10;
    constexpr uint64_t kPage = 4096;
    const uint64_t start = offset_ + at;
    if (in.size() >= kMany && start % kPage == 0 && in.size() % kPage == 0 &&
        is_all_zeros(std::as_bytes(in)) &&
        ::fallocate(fd_, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(start),
                    static_cast<off_t>(in.size())) == 0)
        return;
    write(at, in);
}

void FatVolume::zero(uint64_t at, uint64_t size) const {
    const std::vector<uint8_t> zeros(std::min<uint64_t>(size, kFatChunk));
    for (uint64_t done = 0; done < size; done += zeros.size())
        update(at + done, std::span(zeros).first(std::min<uint64_t>(zeros.size(), size - done)));
}

void FatVolume::sync() const {
    if (::fsync(fd_) < 0) throw Failure::from_errno("cannot write the file system", errno);
}

template <typename Function>
void FatUsage::for_each_entry(const FatPoll& poll, Function function) const {
    const FatTable table = volume_.table();
    for (uint64_t first = 0; first < volume_.end(); first += kFatWindow) {
        poll();
        const auto count = static_cast<size_t>(std::min<uint64_t>(kFatWindow, volume_.end() - first));
        const std::vector<uint32_t> entries = table.read(first, count);
        for (size_t i = first == 0 ? 2 : 0; i < count; ++i) function(first + i, entries[i]);
    }
}

FatUsage::FatUsage(const FatVolume& volume, uint64_t end, const FatPoll& poll)
    : bits_(volume.layout().bits), volume_(volume), used_(end), taken_(end), referred_(end) {
    for_each_entry(poll, [&](uint64_t cluster, uint32_t entry) {
        const uint32_t number = FatEntry::number(bits_, entry);
        if (number == 0) return;
        taken_.set(cluster);
        if (number != FatEntry::bad(bits_)) used_.set(cluster);
    });
    for_each_entry(poll, [&](uint64_t cluster, uint32_t entry) {
        if (used_.test(cluster) && !FatEntry::is_end(bits_, entry)) refer(FatEntry::number(bits_, entry));
    });
    used_.count();
    taken_.count();
}

void FatUsage::require_used(uint64_t cluster) const {
    if (!volume_.has(cluster))
        refuse_fat("it refers to cluster " + std::to_string(cluster) + ", which doesn't exist");
    if (!used_.test(cluster))
        refuse_fat("it refers to cluster " + std::to_string(cluster) + ", which isn't in use");
}

void FatUsage::refer(uint64_t cluster) {
    require_used(cluster);
    if (!referred_.set(cluster))
        refuse_fat("cluster " + std::to_string(cluster) + " is used twice, or chained to itself");
}

FatImmovable check_fat_directories(const FatVolume& volume, FatUsage& usage, const FatPoll& poll) {
    FatDirectories directories(volume, poll);
    FatImmovable immovable;
    if (volume.layout().bits == 32) usage.refer(volume.layout().root_cluster);
    directories.walk(
        [&](const FatDirectoryEntry& entry, bool root) {
            const uint32_t first = entry.first_cluster();
            if (first == 0) return;  // an empty file, or ".." that is the root
            if (entry.is_itself_or_parent()) return usage.require_used(first);
            usage.refer(first);
            if (!root || entry.is_directory() || !entry.has_name(kSyslinuxName)) return;
            directories.for_each_in_chain(first, [&](uint64_t cluster) {
                immovable.first = std::min(immovable.first, cluster);
                immovable.last = std::max(immovable.last, cluster);
                return true;
            });
        },
        [](uint64_t, std::span<const uint8_t>) {});
    return immovable;
}

}  // namespace inspect::agent
