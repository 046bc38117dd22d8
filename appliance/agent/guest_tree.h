// SPDX-License-Identifier: GPL-2.0-or-later
//
// GuestTree: the guest's directory tree, and the one way from a guest's path to something opened.
//
// Every path is resolved by openat2(RESOLVE_IN_ROOT) below the tree's root: "..", absolute symlinks and
// whatever else a guest prepared stay inside, as if the root were "/". What creates, removes or renames works
// on an opened parent directory and a final name, so nothing is ever resolved twice.
#pragma once

#include <sys/stat.h>

#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/fd.h"

namespace inspect::agent {

// File systems below "/" may be deferred: most commands never look at /boot/efi or /home, and each mount
// costs as much as all the rest. They are mounted when a path leads to them, or may: where an opened object
// is at or below such a mount point, where a path isn't there without them, and before anything that goes
// through a whole tree.
//
// Not thread-safe.
class GuestTree {
  public:
    GuestTree() = default;
    explicit GuestTree(Fd root) : root_(std::move(root)) {}

    // Mounts a file system at its path of this tree; may throw Failure, which becomes a warning.
    using MountDeferred = std::function<void()>;
    // `path` as the mount point is spelt by fstab, normalised. Parents must be added before what is below
    // them.
    void defer(std::string path, MountDeferred mount) {
        deferred_.push_back({std::move(path), std::move(mount)});
    }
    // Mounts all that is deferred below the directory that `fd` is (or everywhere): before a walk through it,
    // or before its entries are looked at.
    void settle_below(int fd) const;
    void settle_all() const;
    // What went wrong with deferred mounts since the last call.
    std::vector<std::string> take_warnings() const { return std::exchange(warnings_, {}); }

    bool mounted() const { return static_cast<bool>(root_); }
    // The root directory. Throws Failure when nothing is mounted.
    int root() const;

    // openat2 below the root; O_CLOEXEC, O_NOCTTY and O_NONBLOCK are added. Returns an empty Fd and sets
    // errno.
    Fd try_open(std::string_view path, int flags, mode_t mode = 0) const;
    // The same; throws Failure "cannot open PATH: ...".
    Fd open(std::string_view path, int flags) const;
    // A regular file for reading; FIFOs, devices, sockets and directories are refused before they are opened.
    // The file's status goes to `status`.
    Fd open_regular(std::string_view path, struct stat& status, int flags = 0) const;
    // O_PATH: for what has no contents to open. `follow`: a symlink as the last component is followed.
    Fd open_path(std::string_view path, bool follow) const;

    // A directory and a name in it.
    struct Place {
        Fd directory;
        std::string name;  // one component, not "." or ".."
    };
    // Where `path` is or would be; its last component is not looked at, let alone followed. Throws Failure:
    // kUsage when there is no last component ("/", "a/.."), NOT_FOUND when the directory isn't there. `verb`
    // is for the message: "cannot create".
    Place place(std::string_view path, std::string_view verb) const;
    // The same, where the last component is followed while it is a symlink: where writing to `path` ends. The
    // place may be vacant. `path` becomes the path that this was found by.
    Place followed_place(std::string& path, std::string_view verb) const;

  private:
    struct Deferred {
        std::string path;
        MountDeferred mount;
    };

    Fd open_now(const std::string& path, unsigned long flags, mode_t mode) const;
    // The path of what is open, from the root of the tree; empty when it can't be told.
    std::string path_of(int fd) const;
    void settle(const std::function<bool(const std::string& path)>& which) const;

    Fd root_;
    // Mounting what was deferred changes nothing that a caller can see but the tree's completeness.
    mutable std::vector<Deferred> deferred_;
    mutable std::vector<std::string> warnings_;
};

// "/proc/self/fd/N": the one way to do to an O_PATH descriptor what has no f*at() call. It is the agent's own
// descriptor, so no guest path is resolved again.
class FdPath {
  public:
    explicit FdPath(int fd) : text_("/proc/self/fd/" + std::to_string(fd)) {}
    const char* c_str() const { return text_.c_str(); }

  private:
    std::string text_;
};

// "a regular file", "a directory", ... for messages.
const char* type_name(mode_t mode);
// `path` as a message shows it: "/" for the empty one.
std::string shown(std::string_view path);
// The last component, as basename(1): empty for "/".
std::string_view last_component(std::string_view path);
// directory + "/" + name
std::string join(std::string_view directory, std::string_view name);
// A name that is not in use in a directory with near certainty: ".insp-" and 16 random characters.
std::string temporary_name();

}  // namespace inspect::agent
