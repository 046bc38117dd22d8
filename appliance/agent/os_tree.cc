// SPDX-License-Identifier: GPL-2.0-or-later
#include "os_tree.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <set>

#include "failure.h"
#include "log.h"

namespace inspect::agent {

namespace {

// By its type, a partition that never holds a root file system.
bool excluded_by_type(const Partition& partition) {
    static constexpr std::string_view kNever[] = {
        "c12a7328-f81f-11d2-ba4b-00a0c93ec93b",  // EFI system
        "21686148-6449-6e6f-744e-656564454649",  // BIOS boot
        "0657fd6d-a4ab-43c4-84e5-0933c84b4f4f",  // Linux swap
        "e6d6d379-f507-44c2-a23c-238f2a3df928",  // Linux LVM
        "a19d880f-05fc-4d3b-a006-743f0f84911e",  // Linux RAID
        "bc13c2ff-59e6-4262-a352-b275fd6f7172",  // extended boot loader
        "e3c9e316-0b5c-4db8-817d-f92df00215ae",  // Microsoft reserved
        "0xef",
        "0x82",
        "0x8e",
        "0xfd",
    };
    return std::find(std::begin(kNever), std::end(kNever), partition.type) != std::end(kNever);
}

// What an operating system is commonly spread over: a file system that an fstab mounts there is no root of
// its own.
bool is_part_of_a_system(const std::string& path) {
    static constexpr std::string_view kTops[] = {"/boot", "/home", "/usr", "/var",
                                                 "/opt",  "/srv",  "/tmp", "/root"};
    return std::any_of(std::begin(kTops), std::end(kTops), [&](std::string_view top) {
        return path.starts_with(top) && (path.size() == top.size() || path[top.size()] == '/');
    });
}

bool exists(const GuestTree& tree, std::string_view path) {
    return static_cast<bool>(tree.try_open(path, O_PATH | O_NOFOLLOW));
}

}  // namespace

std::string read_small_file(const GuestTree& tree, std::string_view path, size_t limit) {
    try {
        struct stat status;
        Fd file = tree.open_regular(path, status);
        std::string text(std::min<size_t>(static_cast<size_t>(status.st_size), limit), '\0');
        text.resize(read_full(file.get(), std::as_writable_bytes(std::span(text)), "read"));
        return text;
    } catch (const std::exception& error) {
        note(error.what());
        return {};
    }
}

bool is_os_root(const GuestTree& tree, bool has_fstab) {
    // A symlink counts, even where it leads to a /usr that isn't mounted yet.
    if (exists(tree, "etc/os-release") || exists(tree, "usr/lib/os-release")) return true;
    if (!exists(tree, "etc")) return false;
    bool has_programs = exists(tree, "bin") || exists(tree, "usr/bin") || exists(tree, "usr");
    return has_programs && (has_fstab || exists(tree, "etc/passwd"));
}

OsRoot OsFinder::mount_candidate(Volume& volume) {
    // A whole disk is mounted for writing only after libblkid had no second opinion (a RAID member, for one).
    if (!read_only_ && !volume.partition) disks_.superblock(volume, true);
    Mounts::Request request{{}, {}, read_only_ || volume.disk->read_only};
    OsRoot root{&volume, GuestTree(mounts_.mount(volume, target_, request)), {}};
    root.fstab = parse_fstab(read_small_file(root.tree, "etc/fstab"));
    return root;
}

std::vector<OsRoot> OsFinder::find() {
    std::vector<OsRoot> found;
    std::set<const Volume*> claimed;
    std::vector<Volume*> all = disks_.volumes();
    for (Disk& disk : disks_.disks()) {
        for (const std::string& warning : disk.table->warnings)
            warnings_.push_back("/dev/" + disk.name + ": " + warning);
    }
    for (Volume* volume : all) {
        if (claimed.contains(volume) || (volume->partition && excluded_by_type(*volume->partition))) continue;
        try {
            const std::string& type = disks_.superblock(*volume).type;
            if (type == "vfat" || !mounts_.can_mount(type)) continue;
            size_t before = mounts_.count();
            OsRoot root = mount_candidate(*volume);
            if (!is_os_root(root.tree, !root.fstab.empty())) {
                root.tree = GuestTree();  // gives the mount free
                if (!read_only_) mounts_.unmount_to(before);
                continue;
            }
            for (const FstabEntry& entry : root.fstab) {
                if (!is_part_of_a_system(entry.path)) continue;
                if (const Volume* part = disks_.find_spec(entry.spec)) claimed.insert(part);
            }
            found.push_back(std::move(root));
        } catch (const Failure& failure) {
            warnings_.push_back(failure.message());
        }
    }
    // One that was taken for a root before the fstab that claims it was read.
    if (found.size() > 1)
        std::erase_if(found, [&](const OsRoot& root) { return claimed.contains(root.volume); });
    return found;
}

OsRoot OsFinder::open(std::string_view device) {
    OsRoot root = mount_candidate(disks_.get(device));
    if (!is_os_root(root.tree, !root.fstab.empty()))
        throw Failure(proto::NOT_FOUND, "there is no operating system on " + std::string(device));
    return root;
}

std::vector<OsMount> OsFinder::mount_tree(const OsRoot& root) {
    std::vector<OsMount> result;
    for (const FstabEntry& entry : root.fstab) {
        if (entry.path == "/") {
            result.push_back({entry, root.volume});
            continue;
        }
        Volume* volume = nullptr;
        try {
            volume = disks_.find_spec(entry.spec);
            if (!volume) {
                if (!entry.has_option("nofail"))
                    warnings_.push_back("/etc/fstab names " + entry.spec + " for " + entry.path +
                                        ", which is not there");
            } else {
                // Of the options only those count that choose what is mounted.
                std::string options;
                for (size_t at = 0; at < entry.options.size();) {
                    size_t comma = std::min(entry.options.find(',', at), entry.options.size());
                    std::string option = entry.options.substr(at, comma - at);
                    at = comma + 1;
                    if (option.starts_with("subvol=") || option.starts_with("subvolid="))
                        options += (options.empty() ? "" : ",") + option;
                }
                mounts_.mount_below(root.tree, entry.path, *volume,
                                    {options, {}, read_only_ || volume->disk->read_only});
            }
        } catch (const Failure& failure) {
            warnings_.push_back(entry.path + ": " + failure.message());
        }
        result.push_back({entry, volume});
    }
    return result;
}

}  // namespace inspect::agent
