// SPDX-License-Identifier: GPL-2.0-or-later
#include "subvolume_list.h"

#include <sys/stat.h>

#include <cerrno>
#include <set>

#include "btrfs.h"
#include "failure.h"

namespace inspect::agent {

namespace {

constexpr char kTop[] = "/run/btrfs-top";

std::vector<Subvolume> look(Mounts& mounts, Volume& volume) {
    if (::mkdir(kTop, 0700) < 0 && errno != EEXIST) fail_errno("cannot create", kTop);
    const size_t before = mounts.count();
    std::vector<Subvolume> subvolumes;
    try {
        const Fd top = mounts.mount(volume, kTop, {"subvolid=5", {}, true});
        subvolumes = list_subvolumes(top.get());
    } catch (...) {
        mounts.unmount_to(before);
        throw;
    }
    mounts.unmount_to(before);
    return subvolumes;
}

}  // namespace

void add_subvolumes(Disks& disks, Mounts& mounts, proto::FilesystemList& list) {
    std::set<std::string> seen;  // UUIDs: one on several devices is listed once
    for (Volume* volume : disks.volumes()) {
        try {
            const Superblock& superblock = disks.superblock(*volume);
            if (superblock.type != "btrfs" || !seen.insert(superblock.uuid).second) continue;
            for (const Subvolume& subvolume : look(mounts, *volume)) {
                proto::Filesystem& item = *list.add_filesystems();
                item.set_device("btrfsvol:" + volume->device + "/" + subvolume.path);
                item.set_type(superblock.type);
                item.set_label(superblock.label);
                item.set_uuid(superblock.uuid);
                item.set_mountable(true);
                item.set_kind("subvolume");
                item.add_parts(volume->device);
            }
        } catch (const Failure& failure) {
            list.add_warnings("the subvolumes of " + volume->device +
                              " are not listed: " + failure.message());
        }
    }
}

}  // namespace inspect::agent
