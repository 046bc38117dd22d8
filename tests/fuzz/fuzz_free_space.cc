// SPDX-License-Identifier: GPL-2.0-or-later
//
// Arbitrary bytes as a disk whose partition table and ext file system are looked at for free space: what is
// found lies within the disk.
#include <cstdlib>

#include <inspect/error.h>

#include "backup/unused_space.h"
#include "block/ext_free_space.h"
#include "block/memory_device.h"
#include "block/partitions.h"

using namespace inspect;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    if (size == 0 || size > 1 << 20) return 0;
    const auto input = std::as_bytes(std::span(data, size));
    MemoryDevice disk(std::vector<std::byte>(input.begin(), input.end()));
    auto require_inside = [&](uint64_t offset, uint64_t length) {
        if (offset > disk.size() || length > disk.size() - offset) std::abort();
    };
    for (const PartitionRange& partition : find_partitions(disk, 512))
        require_inside(partition.offset, partition.length);
    RangeSet free;
    find_ext_free_space(disk, 0, disk.size(), free);
    for (const auto& [begin, end] : free.ranges()) require_inside(begin, end - begin);
    std::vector<std::string> warnings;
    for (const UnusedSpace& unused : unused_space({DiskSpec{}}, {&disk}, warnings))
        for (const auto& [begin, end] : unused.ranges.ranges()) require_inside(begin, end - begin);
    return 0;
}
