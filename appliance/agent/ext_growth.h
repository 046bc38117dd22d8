// SPDX-License-Identifier: GPL-2.0-or-later
//
// Growing ext file systems while they are mounted.
//
// The kernel then writes the new groups' descriptors and bitmaps and looks at nothing else, so that it takes
// no longer on a large file system than on a small one; resize2fs on one that isn't mounted goes through all
// blocks' bits. But the kernel can only use the room for descriptors that was reserved when the file system
// was made; beyond it, it goes over to another layout of them (META_BG), which not every boot loader knows.
// There resize2fs moves what is in the way instead.
#pragma once

#include <cstdint>
#include <span>

namespace inspect::agent {

// Of a superblock (the 1024 bytes at 1024): whether the kernel can make the file system `new_size` bytes
// large, mounted, with the layout that it has.
bool ext_grows_mounted(std::span<const uint8_t, 1024> superblock, uint64_t new_size);

}  // namespace inspect::agent
