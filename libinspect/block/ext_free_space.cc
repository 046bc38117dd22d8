// SPDX-License-Identifier: LGPL-2.1-or-later
//
// The layout is that of the kernel's documentation, Documentation/filesystems/ext4: superblock, group
// descriptors, block bitmaps.
#include "block/ext_free_space.h"

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <vector>

#include <inspect/error.h>

#include "base/checked.h"
#include "base/endian.h"

namespace inspect {

namespace {

constexpr uint64_t kSuperblockOffset = 1024;
constexpr uint16_t kMagic = 0xef53;

// Features. Those that aren't named here change something that matters, or are unknown.
enum : uint32_t {
    kIncompatFiletype = 0x2,
    kIncompatRecover = 0x4,
    kIncompatExtents = 0x40,
    kIncompat64Bit = 0x80,
    kIncompatMmp = 0x100,
    kIncompatFlexBg = 0x200,
    kIncompatEaInode = 0x400,
    kIncompatCsumSeed = 0x2000,
    kIncompatLargedir = 0x4000,
    kIncompatInlineData = 0x8000,
    kIncompatEncrypt = 0x10000,
    kIncompatCasefold = 0x20000,
    kRoCompatGdtCsum = 0x10,
    kRoCompatBigalloc = 0x200,
    kRoCompatMetadataCsum = 0x400,
};
constexpr uint32_t kIncompatUnderstood = kIncompatFiletype | kIncompatExtents | kIncompat64Bit |
                                         kIncompatMmp | kIncompatFlexBg | kIncompatEaInode |
                                         kIncompatCsumSeed | kIncompatLargedir | kIncompatInlineData |
                                         kIncompatEncrypt | kIncompatCasefold;
// Group descriptor flag: the bitmap on disk was never written.
constexpr uint16_t kBlockBitmapUninitialised = 0x2;
constexpr uint16_t kStateClean = 0x1, kStateErrors = 0x2;

struct Superblock {
    le32 inodes, blocks_low, reserved_low, free_low, free_inodes, first_data_block, log_block_size,
        log_cluster_size, blocks_per_group, clusters_per_group, inodes_per_group, mount_time, write_time;
    le16 mount_count, max_mount_count, magic, state, errors, minor_revision;
    le32 last_check, check_interval, creator, revision;
    le16 reserved_uid, reserved_gid;
    le32 first_inode;
    le16 inode_size, group_number;
    le32 feature_compat, feature_incompat, feature_ro_compat;
    uint8_t uuid[16], label[16], last_mounted[64];
    le32 bitmap_algorithm;
    uint8_t prealloc[2];
    le16 reserved_gdt_blocks;
    uint8_t journal_uuid[16];
    le32 journal_inode, journal_device, last_orphan, hash_seed[4];
    uint8_t hash_version, journal_backup_type;
    le16 descriptor_size;
    le32 default_mount_options, first_meta_group, mkfs_time, journal_blocks[17], blocks_high, reserved_high,
        free_high;
};
static_assert(offsetof(Superblock, descriptor_size) == 0xfe && offsetof(Superblock, blocks_high) == 0x150);

struct GroupDescriptor {
    le32 block_bitmap_low, inode_bitmap_low, inode_table_low;
    le16 free_blocks_low, free_inodes_low, directories_low, flags;
    le32 exclude_bitmap_low;
    le16 block_bitmap_csum_low, inode_bitmap_csum_low, unused_inodes_low, checksum;
    le32 block_bitmap_high, inode_bitmap_high, inode_table_high;
    le16 free_blocks_high;
};
static_assert(offsetof(GroupDescriptor, flags) == 0x12 &&
              offsetof(GroupDescriptor, block_bitmap_high) == 0x20);

class Reader {
  public:
    Reader(BlockDevice& disk, uint64_t offset, uint64_t length, RangeSet& free)
        : disk_(disk), offset_(offset), length_(length), free_(free) {}

    ExtResult read() {
        if (length_ < kSuperblockOffset + sizeof super_) return ExtResult::kNone;
        disk_.read(offset_ + kSuperblockOffset, std::as_writable_bytes(std::span(&super_, 1)));
        if (super_.magic != kMagic) return ExtResult::kNone;
        const uint32_t incompat = super_.feature_incompat, ro_compat = super_.feature_ro_compat;
        if ((incompat & kIncompatRecover) != 0) return ExtResult::kDirty;
        const bool has_journal = super_.journal_inode != 0;
        if ((super_.state & kStateErrors) != 0 || (!has_journal && (super_.state & kStateClean) == 0))
            return ExtResult::kDirty;
        if ((incompat & ~kIncompatUnderstood) != 0 || (ro_compat & kRoCompatBigalloc) != 0 ||
            super_.log_block_size > 6 || super_.revision == 0 || super_.blocks_per_group == 0)
            return ExtResult::kUnknown;
        return read_groups();
    }

  private:
    ExtResult read_groups() {
        block_size_ = 1024ULL << super_.log_block_size;
        const bool wide = (super_.feature_incompat & kIncompat64Bit) != 0;
        blocks_ = super_.blocks_low | (wide ? uint64_t{super_.blocks_high} << 32 : 0);
        const uint64_t first = super_.first_data_block, per_group = super_.blocks_per_group;
        const uint64_t descriptor_size = wide ? uint64_t{super_.descriptor_size} : 32;
        if (blocks_ > length_ / block_size_ || blocks_ <= first || per_group > block_size_ * 8 ||
            per_group % 8 != 0 || descriptor_size < (wide ? 64U : 32U) || descriptor_size > block_size_)
            return ExtResult::kUnknown;
        const uint64_t groups = (blocks_ - first + per_group - 1) / per_group;
        const uint64_t table = (first + 1) * block_size_;
        if (groups > length_ / descriptor_size || !range_fits(table, groups * descriptor_size, length_))
            return ExtResult::kUnknown;
        std::vector<std::byte> descriptors(groups * descriptor_size);
        disk_.read(offset_ + table, descriptors);
        RangeSet found;
        for (uint64_t group = 0; group < groups; ++group) {
            GroupDescriptor descriptor{};
            std::memcpy(&descriptor, descriptors.data() + group * descriptor_size,
                        std::min<size_t>(descriptor_size, sizeof descriptor));
            const uint64_t begin = first + group * per_group;
            if (!read_bitmap(descriptor, wide, begin, std::min(per_group, blocks_ - begin), found))
                return ExtResult::kUnknown;
        }
        for (const auto& [begin, end] : found.ranges()) free_.add(begin, end - begin);
        return ExtResult::kRead;
    }

    bool read_bitmap(const GroupDescriptor& descriptor, bool wide, uint64_t begin, uint64_t count,
                     RangeSet& found) {
        const bool checksums = (super_.feature_ro_compat & (kRoCompatGdtCsum | kRoCompatMetadataCsum)) != 0;
        if (checksums && (descriptor.flags & kBlockBitmapUninitialised) != 0) {
            // Only metadata are in use in such a group, but where they are is told elsewhere, and by rules.
            // The kernel writes the bitmap when it takes the first block, so little is lost: these blocks
            // have never held anything, and are holes or zeros.
            return true;
        }
        const uint64_t at =
            descriptor.block_bitmap_low | (wide ? uint64_t{descriptor.block_bitmap_high} << 32 : 0);
        if (at >= blocks_) return false;
        std::vector<std::byte> bitmap((count + 7) / 8);
        disk_.read(offset_ + at * block_size_, bitmap);
        uint64_t free = 0;
        for (uint64_t i = 0; i < count;) {
            const uint64_t run = same_bits(bitmap, i, count);
            if (!bit(bitmap, i)) {
                free += run;
                found.add(offset_ + (begin + i) * block_size_, run * block_size_);
            }
            i += run;
        }
        // The descriptor counts, too: where the two differ, one of them is wrong.
        const uint64_t counted =
            descriptor.free_blocks_low | (wide ? uint64_t{descriptor.free_blocks_high} << 16 : 0);
        return free == counted;
    }

    static bool bit(const std::vector<std::byte>& bitmap, uint64_t i) {
        return (std::to_integer<unsigned>(bitmap[i / 8]) >> i % 8 & 1) != 0;
    }
    // How many bits from `i` on, up to `count`, are what bit `i` is.
    static uint64_t same_bits(const std::vector<std::byte>& bitmap, uint64_t i, uint64_t count) {
        const uint64_t start = i;
        const bool value = bit(bitmap, i);
        const std::byte whole{value ? uint8_t{0xff} : uint8_t{0}};
        while (i < count && bit(bitmap, i) == value)
            i += i % 8 == 0 && count - i >= 8 && bitmap[i / 8] == whole ? 8 : 1;
        return i - start;
    }

    BlockDevice& disk_;
    const uint64_t offset_, length_;
    RangeSet& free_;
    Superblock super_{};
    uint64_t block_size_ = 0, blocks_ = 0;
};

}  // namespace

ExtResult find_ext_free_space(BlockDevice& disk, uint64_t offset, uint64_t length, RangeSet& free) {
    return Reader(disk, offset, length, free).read();
}

}  // namespace inspect
