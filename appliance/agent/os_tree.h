// SPDX-License-Identifier: GPL-2.0-or-later
//
// Finding operating systems on the disks and mounting their trees.
//
// Made to be frugal: what can't be a root is not mounted, what is mounted on the way stays mounted where it
// is. Each has a directory of its own: mounted over one another, ".." at the root of a lower one would lead
// into the upper one.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "fstab.h"
#include "mounts.h"

namespace inspect::agent {

// A mounted file system with an operating system's root on it.
struct OsRoot {
    Volume* volume;
    GuestTree tree;
    std::vector<FstabEntry> fstab;
    std::map<std::string, std::string> crypttab;
};

struct OsMount {
    FstabEntry entry;
    Volume* volume;  // nullptr: there is no such device
};

class OsFinder {
  public:
    // `target`: what the directories that file systems are mounted on begin with.
    OsFinder(Disks& disks, Mounts& mounts, std::string target, bool read_only)
        : disks_(disks), mounts_(mounts), target_(std::move(target)), read_only_(read_only) {}

    // Mounts what may be a root and returns those that are.
    std::vector<OsRoot> find();
    // The one on this device. Throws Failure(NOT_FOUND) when it is none.
    OsRoot open(std::string_view device);
    // Mounts the rest of the tree as its fstab says. What can't be mounted is a warning.
    std::vector<OsMount> mount_tree(const OsRoot& root);
    // The same, later: when the tree (where `root.tree` has been moved to by then) is asked for what is
    // there. `disks` and `mounts` must outlive the tree.
    void defer_tree(GuestTree& tree, const OsRoot& root);

    std::vector<std::string>& warnings() { return warnings_; }

  private:
    OsRoot mount_candidate(Volume& volume);
    void find_in_subvolumes(Volume& volume, std::vector<OsRoot>& found);
    bool is_claimed(Volume& volume, const OsRoot& root);
    void tell_copies_apart(const std::vector<Volume*>& all);

    Disks& disks_;
    Mounts& mounts_;
    std::string target_;
    bool read_only_;
    std::vector<std::string> warnings_;
    std::vector<std::string> unopenable_;  // what a system may be on, in vain
};

// True when the tree looks like an operating system's root file system.
bool is_os_root(const GuestTree& tree, bool has_fstab);
// The contents of a regular file of the guest, at most `limit` bytes; empty when it can't be read.
std::string read_small_file(const GuestTree& tree, std::string_view path, size_t limit = 256 << 10);

}  // namespace inspect::agent
