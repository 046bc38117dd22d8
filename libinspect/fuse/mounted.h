// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Mounted: a session of the host's FUSE, mounted on a directory, and libfuse's complaints as errors.
#pragma once

#define FUSE_USE_VERSION 35
#include <fuse_lowlevel.h>

#include <string>
#include <vector>

namespace inspect::fuse {

// All that we mount is of this type, "fuse.insp" in /proc/self/mountinfo: insp umount knows it by that.
inline constexpr char kFilesystemType[] = "insp";

struct MountedOptions {
    std::string source;  // what mount(8) shows; any bytes
    bool writable = false;
    std::vector<std::string> fuse_options = {};  // of HostMountOptions
};

// What is mounted on exactly this path, of whatever file system; the last one is the one that is seen.
struct MountEntry {
    std::string device;  // "0:57"
    std::string type;
};
std::vector<MountEntry> mounts_on(const std::string& mount_point);

// Throws Error(kUsage) when the directory has entries, unless the options have "nonempty".
void require_mountable(const std::string& directory, const std::vector<std::string>& fuse_options);

class Mounted {
  public:
    // `user_data` is what the operations get, and must outlive this. Throws Error: kUsage (options that FUSE
    // doesn't take), kUnsupported (it can't be mounted: the message says why).
    Mounted(const MountedOptions& options, const std::string& mount_point,
            const fuse_lowlevel_ops& operations, void* user_data);
    ~Mounted();
    Mounted(const Mounted&) = delete;
    Mounted& operator=(const Mounted&) = delete;

    fuse_session* session() const { return session_; }
    const std::string& mount_point() const { return mount_point_; }
    // Where the tree is now: anybody may have unmounted it, lazily perhaps, or mounted something over it.
    enum class Place { kHere, kCovered, kGone };
    Place place() const;

  private:
    std::string mount_point_;
    std::string device_;
    fuse_session* session_ = nullptr;
};

// The message for who wanted to unmount and couldn't; `why` is of unmount_directory().
std::string unmount_refusal(const std::string& mount_point, const std::string& why);

// Unmounts; why it failed, or an empty string. In use: "busy". The kernel may wait meanwhile for the thread
// that serves the mount.
std::string unmount_directory(const std::string& mount_point, bool lazy);

}  // namespace inspect::fuse
