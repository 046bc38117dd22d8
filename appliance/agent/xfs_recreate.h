// SPDX-License-Identifier: GPL-2.0-or-later
//
// XFS made anew in a smaller size. It can't shrink; so what is in it is dumped to a place aside (xfsdump), a
// new file system is made with the same identity and the same features, and the dump is restored into it.
// The features have to be the same because a guest's kernel may be older than the appliance's.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace inspect::agent {

inline constexpr size_t kXfsSuperblockSize = 512;

// Of a superblock: the arguments of mkfs.xfs, the program's path first, for a file system of `size` bytes on
// `device` that differs in nothing else that counts: UUID, label, version, features, sizes of blocks, inodes,
// sectors, directory blocks, stripes. Throws Failure where that isn't possible, and says why.
std::vector<std::string> mkfs_xfs_like(std::span<const uint8_t, kXfsSuperblockSize> superblock,
                                       const std::string& device, uint64_t size);

}  // namespace inspect::agent
