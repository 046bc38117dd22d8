// SPDX-License-Identifier: LGPL-2.1-or-later
//
// A guest's tree on a directory of the host, by FUSE: the host's kernel sees files, and never the file system
// that they are in.
//
//     inspect::Session session(options);
//     session.mount_os();
//     inspect::mount_on_host(session, {.directory = "/home/me/guest"});   // returns when it is unmounted
#pragma once

#include <functional>
#include <string>
#include <vector>

#include <inspect/session.h>

namespace inspect {

struct HostMountOptions {
    std::string directory;  // an empty directory of the host
    // What of the guest is shown there: a directory, absolute in the guest's tree.
    std::string subdirectory = "/";
    // For the host's kernel and fusermount3(1), as after mount's -o: "allow_other", "default_permissions"...
    // "nonempty" lets the directory have entries.
    std::vector<std::string> fuse_options = {};
    // Once this is readable it is unmounted; where it is in use, that is when the last user has gone. The
    // caller's, neither read nor closed. -1: none.
    int stop_fd = -1;
    // Called once, in the thread that called, when the tree is there; what it throws ends the mount.
    std::function<void()> on_mounted = {};
};

// Shows what the session has mounted, or is about to, and works until somebody unmounts it: fusermount3 -u,
// umount, unmount_from_host(), stop_fd. Then commits, where the session is writable; true when an image
// changed. The Session is over afterwards. While the tree is mounted its own calls can't be used.
//
// An appliance that dies leaves a tree in which everything fails with EIO; what it died of is thrown once
// that is unmounted, and the images stay as they were. Throws Error as well when it can't be mounted:
// kNotFound, kUsage (the directory isn't empty), kUnsupported (no FUSE), kDenied. Used by one thread, which
// it keeps until the end; mounts of different sessions are independent.
bool mount_on_host(Session& session, const HostMountOptions& options);

struct UnmountOptions {
    bool lazy = false;       // also while it is in use; what uses it goes on until it is done
    bool wait_only = false;  // somebody else unmounts; this waits for it
};

// Unmounts what mount_on_host() of a process of this user has mounted on the directory, and returns when the
// images are released and have the changes; true when an image changed. Throws Error: kBusy while files are
// in use (nothing has happened then), kNotFound when nothing of ours is mounted there, and what the commit
// threw. Where it was unmounted already, what became of that, if nobody has asked yet.
bool unmount_from_host(const std::string& directory, const UnmountOptions& options = {});

}  // namespace inspect
