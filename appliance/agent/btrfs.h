// SPDX-License-Identifier: GPL-2.0-or-later
//
// btrfs: the subvolumes of a mounted file system, and how many devices one is on.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace inspect::agent {

struct Subvolume {
    uint64_t id;
    std::string path;       // from the top of the file system, without a slash at its start
    bool snapshot = false;  // made as a copy of another one
};

// Of the file system that `fd`, any directory in it, belongs to; in the order of their IDs, the top itself
// left out, at most some thousands. Throws Failure.
std::vector<Subvolume> list_subvolumes(int fd);

// How many devices the file system is on, as the superblock of the device at `offset` of `fd` says; 0 when it
// can't be read.
uint64_t btrfs_device_count(int fd, uint64_t offset);

}  // namespace inspect::agent
