// SPDX-License-Identifier: GPL-2.0-or-later
//
// Sources: linux/fs/ext4/ext4.h (struct ext4_super_block) and resize.c (ext4_resize_fs).
#include "ext_growth.h"

#include "fields.h"

namespace inspect::agent {

namespace {

constexpr uint32_t kCompatResizeInode = 0x10, kCompatSparseSuper2 = 0x200;
constexpr uint32_t kIncompatMetaBg = 0x10, kIncompat64Bit = 0x80;
constexpr uint32_t kRoCompatBigalloc = 0x200;

uint64_t divide_up(uint64_t value, uint64_t by) { return value / by + (value % by != 0); }

}  // namespace

bool ext_grows_mounted(std::span<const uint8_t, 1024> superblock, uint64_t new_size) {
    const uint64_t log = load<le32>(superblock, 24);
    const uint64_t blocks_per_group = load<le32>(superblock, 32);
    const uint64_t compat = load<le32>(superblock, 92);
    const uint64_t incompat = load<le32>(superblock, 96);
    if (log > 6 || blocks_per_group == 0) return false;
    // What the kernel doesn't grow at all, or in ways that few have tried.
    if (compat & kCompatSparseSuper2 || load<le32>(superblock, 100) & kRoCompatBigalloc) return false;
    if (incompat & kIncompatMetaBg) return true;
    if (!(compat & kCompatResizeInode)) return false;
    const uint64_t block = uint64_t{1024} << log;
    const bool is_64bit = incompat & kIncompat64Bit;
    const uint64_t descriptor = is_64bit ? uint64_t{load<le16>(superblock, 254)} : 32;
    if (descriptor < 32 || descriptor > block) return false;
    const uint64_t high = is_64bit ? uint64_t{load<le32>(superblock, 336)} << 32 : 0;
    const uint64_t blocks = load<le32>(superblock, 4) | high;
    const uint64_t first = load<le32>(superblock, 20);
    const uint64_t new_blocks = new_size / block;
    if (blocks <= first || new_blocks <= first) return false;
    auto descriptor_blocks = [&](uint64_t count) {
        return divide_up(divide_up(count - first, blocks_per_group), block / descriptor);
    };
    return descriptor_blocks(new_blocks) <= descriptor_blocks(blocks) + load<le16>(superblock, 206);
}

}  // namespace inspect::agent
