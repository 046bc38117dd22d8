// SPDX-License-Identifier: LGPL-2.1-or-later
#include "backup/unused_space.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <string_view>

#include <inspect/error.h>

#include "block/ext_free_space.h"
#include "block/partitions.h"
#include "guest/free_space.h"

namespace inspect {

namespace {

// A swap space's first page ends in its signature; which size a page has depends on the guest's machine. One
// with a hibernated system in it has another signature there.
constexpr uint64_t kPageSizes[] = {4096, 8192, 16384, 65536};
constexpr std::string_view kSwapSignatures[] = {"SWAPSPACE2"};
constexpr std::string_view kHibernatedSignatures[] = {"S1SUSPEND", "S2SUSPEND", "ULSUSPEND", "LINHIB0001"};
constexpr size_t kSignatureSize = 10;

enum class Swap { kNone, kSwap, kHibernated };

Swap find_swap(BlockDevice& disk, const PartitionRange& partition, RangeSet& unused) {
    for (uint64_t page : kPageSizes) {
        if (partition.length <= page) break;
        std::array<char, kSignatureSize> signature;
        disk.read(partition.offset + page - kSignatureSize, std::as_writable_bytes(std::span(signature)));
        const std::string_view text(signature.data(), signature.size());
        const auto begins = [text](std::string_view word) { return text.starts_with(word); };
        const bool hibernated = std::ranges::any_of(kHibernatedSignatures, begins);
        if (!hibernated && !std::ranges::any_of(kSwapSignatures, begins)) continue;
        // The first page stays: it has the label and the UUID by which the guest finds it.
        unused.add(partition.offset + page, partition.length - page);
        return hibernated ? Swap::kHibernated : Swap::kSwap;
    }
    return Swap::kNone;
}

std::string place(const DiskSpec& disk, const PartitionRange& partition) {
    return "'" + disk.path + "' at byte " + std::to_string(partition.offset);
}

UnusedSpace of_disk(const DiskSpec& spec, BlockDevice& disk, std::vector<std::string>& warnings) {
    UnusedSpace unused;
    for (const PartitionRange& partition : find_partitions(disk, spec.sector_size)) {
        const uint64_t before = unused.ranges.total();
        const Swap swap = find_swap(disk, partition, unused.ranges);
        if (swap != Swap::kNone) {
            unused.swap_bytes += unused.ranges.total() - before;
            if (swap == Swap::kHibernated)
                warnings.push_back("the hibernated system in the swap space of " + place(spec, partition) +
                                   " is left out: the guest will start afresh");
            continue;
        }
        switch (find_ext_free_space(disk, partition.offset, partition.length, unused.ranges)) {
            case ExtResult::kRead:
                unused.free_bytes += unused.ranges.total() - before;
                break;
            case ExtResult::kDirty:
                warnings.push_back("the file system of " + place(spec, partition) +
                                   " was not unmounted: what it calls free is read as well");
                break;
            case ExtResult::kNone:
            case ExtResult::kUnknown:
                unused.unknown.add(partition.offset, partition.length);
                break;
        }
    }
    return unused;
}

}  // namespace

std::vector<UnusedSpace> unused_space(const std::vector<DiskSpec>& disks,
                                      const std::vector<BlockDevice*>& devices,
                                      std::vector<std::string>& warnings) {
    std::vector<UnusedSpace> result;
    for (size_t i = 0; i < devices.size(); ++i) result.push_back(of_disk(disks[i], *devices[i], warnings));
    return result;
}

uint64_t unknown_data(const std::vector<UnusedSpace>& unused, const std::vector<BlockDevice*>& devices) {
    uint64_t total = 0;
    for (size_t i = 0; i < devices.size(); ++i)
        for (const auto& [begin, end] : unused[i].unknown.ranges())
            for (uint64_t at = begin; at < end; at += BlockDevice::kExtentStep)
                for (const Extent& extent :
                     devices[i]->extents(at, std::min(BlockDevice::kExtentStep, end - at)))
                    if (extent.kind == ExtentKind::kData) total += extent.length;
    return total;
}

std::vector<SparsifyResult> ask_appliance(const std::vector<DiskSpec>& disks, const SessionOptions& how,
                                          std::vector<UnusedSpace>& unused,
                                          std::vector<std::string>& warnings) {
    FreeSpace free;
    try {
        free = ask_for_free_space(disks, how);
    } catch (const Error& error) {
        if (error.kind() == ErrorKind::kCancelled) throw;
        warnings.push_back("an appliance can't say what is free, so all of it is read: " + error.message());
        return {};
    }
    for (size_t i = 0; i < unused.size(); ++i) {
        if (free.disks[i].written)
            warnings.push_back("a file system of '" + disks[i].path +
                               "' was not unmounted cleanly: what only an appliance could say to be free "
                               "there is read as well");
        // Elsewhere on the disk it has no say.
        RangeSet known = unused[i].ranges;
        for (const auto& [offset, length] : free.disks[i].ranges)
            for (const auto& [begin, end] : unused[i].unknown.ranges()) {
                const uint64_t from = std::max(begin, offset), to = std::min(end, offset + length);
                if (from < to) known.add(from, to - from);
            }
        unused[i].free_bytes += known.total() - unused[i].ranges.total();
        unused[i].ranges = std::move(known);
    }
    return std::move(free.volumes);
}

}  // namespace inspect
