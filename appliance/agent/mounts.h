// SPDX-License-Identifier: GPL-2.0-or-later
//
// Mounting what is on the disks, and unmounting it so that nothing is lost unsaid.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "disks.h"
#include "guest_tree.h"
#include "mount_options.h"
#include "programs.h"

namespace inspect::agent {

// Not thread-safe.
class Mounts {
  public:
    // `programs` mount what the kernel can't; without them (on a host) that fails.
    explicit Mounts(Disks& disks, Programs* programs = nullptr) : disks_(disks), programs_(programs) {}

    // Before the snapshot: what the kernel can mount.
    void prepare();
    const std::vector<std::string>& types() const { return types_; }
    bool can_mount(std::string_view type) const;
    // "holds ZFS, which the appliance cannot open", of a device with something of this type (libblkid's
    // name). Empty: it can be mounted, or holds no files, or is a part of something else.
    std::string unopenable(std::string_view type) const;

    struct Request {
        std::string options;  // as for mount -o
        std::string type;     // empty: probed; "ntfs3" and "ntfs-3g" are two drivers of one
        bool read_only = true;
        bool with_journal = false;  // an ext file system's is read in, though it is clean
    };
    // Mounts a volume on the agent's own directory `target`. Returns the root of the mounted file system.
    // Throws Failure that says what is wrong with the file system, as the kernel's log has it.
    Fd mount(Volume& volume, const std::string& target, const Request& request);
    // The same at a path of the guest's tree, which must be a directory there.
    void mount_below(const GuestTree& tree, std::string_view path, Volume& volume, const Request& request);

    // Whether Windows hibernates on the NTFS that is mounted there.
    static bool is_hibernated(const std::string& target);

    // How many mounts there are; back to an earlier count: unmounts the others, the last first, and tries
    // them all. Throws Failure when something that was written may be lost.
    size_t count() const { return mounted_.size(); }
    void unmount_to(size_t count);

  private:
    struct Mounted {
        Volume* volume;
        std::string target;
        Fd writable_root;  // of a writable one: sync errors are reported to who had it open
        bool read_only;
    };

    void mount_at(Volume& volume, const std::string& target, const Request& request);
    std::string kernel_reason(const Volume& volume);
    std::string why_not(Volume& volume, std::string_view type);
    void unmount(Mounted& mounted);

    std::string btrfs_devices(Volume& volume);
    static void refuse_hibernated(const Volume& volume, const std::string& target);
    // nullopt: it is mounted; or why not.
    std::optional<std::string> mount_by_ntfs_3g(Volume& volume, const std::string& target,
                                                const MountOptions& options);

    Disks& disks_;
    Programs* programs_;
    std::vector<std::string> types_;
    std::vector<Mounted> mounted_;
    Fd kernel_log_;
};

}  // namespace inspect::agent
