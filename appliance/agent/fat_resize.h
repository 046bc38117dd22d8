// SPDX-License-Identifier: GPL-2.0-or-later
//
// Making a FAT larger or smaller.
//
// A cluster that can stay where it is does; the few that can't are copied to free ones. So the cost is that
// of the tables and directories, whatever the files are large.
//
// Larger tables take the first clusters' place: the data then begin a whole number of clusters later, and all
// clusters have other numbers, in tables and directories. A smaller file system keeps its tables, and moves
// what lies beyond its new end.
//
// All that is on the device is hostile. It is read completely before anything is written: a reference to a
// cluster that isn't there, isn't in use, or that another refers to as well, is refused, so that directories
// can neither be endless nor share anything. Memory: three bits a cluster.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>

#include "fat_layout.h"

namespace inspect::agent {

// The layout of the FAT at `offset` of a device, or nullopt.
std::optional<FatLayout> read_fat_layout(int fd, uint64_t offset);

// How many of the first clusters may be moved. SYSLINUX's boot sector reads LDLINUX.SYS by its place, so that
// what is of it must stay where it is.
uint64_t movable_fat_clusters(int fd, uint64_t offset, const FatLayout& layout);

// Throws Failure when it wasn't unmounted, when its tables differ or references contradict each other. `poll`
// is called again and again, and may throw.
void verify_fat(int fd, uint64_t offset, const std::function<void()>& poll);

// The least that it can be made with what is in it, in bytes. Throws
// Failure.
uint64_t smallest_fat(int fd, uint64_t offset, const std::function<void()>& poll);

// Gives it as much of `size` bytes as it can take, which the device has. Throws Failure; then nothing was
// written unless it says so.
void resize_fat(int fd, uint64_t offset, uint64_t size, const std::function<void()>& poll);

}  // namespace inspect::agent
