// SPDX-License-Identifier: GPL-2.0-or-later
//
// What is on a block device: file system type, label and UUID, spelt as libblkid spells them.
//
// Two ways. Ext, XFS and FAT, which is what nearly every Linux guest is made of, are known from the first 4
// KiB, which the mount reads anyhow: one system call. Everything else, and whoever wants to be sure (a RAID
// member has its metadata at the end), asks libblkid, which looks in some dozens of places.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace inspect::agent {

struct Superblock {
    std::string type;  // ext4, xfs, vfat, swap, LVM2_member, crypto_LUKS...; empty: unknown
    std::string label;
    std::string uuid;
    bool needs_recovery = false;  // ext3, ext4: the journal is to be replayed
    bool has_label = true;        // `label` was looked for (FAT keeps it in the root directory)
};

inline bool is_ext(std::string_view type) { return type == "ext2" || type == "ext3" || type == "ext4"; }

// From the first 4096 bytes of a device. nullopt: none of the three.
std::optional<Superblock> quick_probe(std::span<const uint8_t, 4096> start);

// Of the volume at [offset, offset + size) of a device, in bytes. `thorough`: libblkid in any case. Throws
// Failure when the device can't be read.
Superblock probe_superblock(int fd, uint64_t offset, uint64_t size, bool thorough);

// Of a volume that looks like something else from its start: what it is a member of by the metadata at its
// end, as a half of a RAID 1 is. nullopt: of nothing. Throws Failure when the device can't be read.
std::optional<Superblock> probe_member(int fd, uint64_t offset, uint64_t size);

}  // namespace inspect::agent
