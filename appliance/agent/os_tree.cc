// SPDX-License-Identifier: GPL-2.0-or-later
#include "os_tree.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "btrfs.h"
#include "crypttab.h"
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

// "@home" of subvol=/@home; empty: the entry has none.
std::string subvolume_of(const FstabEntry& entry) {
    std::string path = entry.option_value("subvol");
    return path.substr(std::min(path.find_first_not_of('/'), path.size()));
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
    Mounts::Request request{{}, {}, read_only_ || volume.read_only()};
    std::string target = target_ + "-" + std::to_string(mounts_.count());
    if (::mkdir(target.c_str(), 0700) < 0 && errno != EEXIST) fail_errno("cannot create", target);
    OsRoot root{&volume, GuestTree(mounts_.mount(volume, target, request)), {}, {}};
    root.fstab = parse_fstab(read_small_file(root.tree, "etc/fstab"));
    if (std::any_of(root.fstab.begin(), root.fstab.end(),
                    [](const FstabEntry& entry) { return entry.spec.starts_with("/dev/mapper/"); }))
        root.crypttab = parse_crypttab(read_small_file(root.tree, "etc/crypttab"));
    return root;
}

// True when the system's fstab mounts the volume somewhere in its own tree: then it is no root itself.
bool OsFinder::is_claimed(Volume& volume, const OsRoot& root) {
    const bool is_subvolume = volume.kind == VolumeKind::kSubvolume;
    Volume& whole = is_subvolume ? *volume.parts[0] : volume;
    return root.volume != &volume &&
           std::any_of(root.fstab.begin(), root.fstab.end(), [&](const FstabEntry& entry) {
               return is_part_of_a_system(entry.path) && disks_.matches(whole, entry.spec) &&
                      (!is_subvolume || subvolume_of(entry) == volume.subvolume);
           });
}

// Where the root directory of a btrfs is no system's, subvolumes may be: "@", "root". They are looked at all
// together, from the top. Snapshots are left out: what a snapshot has is the same system, some time ago.
void OsFinder::find_in_subvolumes(Volume& volume, std::vector<OsRoot>& found) {
    const size_t before = mounts_.count();
    const std::string target = target_ + "-" + std::to_string(before);
    if (::mkdir(target.c_str(), 0700) < 0 && errno != EEXIST) fail_errno("cannot create", target);
    std::vector<std::string> roots;
    try {
        GuestTree top(mounts_.mount(volume, target, {"subvolid=5", {}, true}));
        for (const Subvolume& subvolume : list_subvolumes(top.root())) {
            if (subvolume.snapshot) continue;
            GuestTree tree(top.try_open(subvolume.path, O_RDONLY | O_DIRECTORY));
            if (tree.mounted() && is_os_root(tree, !read_small_file(tree, "etc/fstab").empty()))
                roots.push_back(subvolume.path);
        }
    } catch (...) {
        mounts_.unmount_to(before);
        throw;
    }
    mounts_.unmount_to(before);
    for (const std::string& path : roots) {
        if (Volume* subvolume = disks_.find("btrfsvol:" + volume.device + "/" + path))
            found.push_back(mount_candidate(*subvolume));
    }
}

// Two file systems of one UUID are copies, or what the halves of a RAID 1 look like: that is seen at their
// ends.
void OsFinder::tell_copies_apart(const std::vector<Volume*>& all) {
    std::map<std::string, Volume*> known;  // by UUID
    for (Volume* volume : all) {
        if (volume->partition && excluded_by_type(*volume->partition)) continue;
        try {
            const std::string uuid = disks_.superblock(*volume).uuid;
            const auto [first, is_new] = known.emplace(uuid, volume);
            if (is_new || uuid.empty()) continue;
            disks_.superblock(*first->second, true);
            disks_.superblock(*volume, true);
        } catch (const Failure& failure) {
            note(failure.message());  // a warning, when its turn comes
        }
    }
}

std::vector<OsRoot> OsFinder::find() {
    std::vector<OsRoot> found;
    std::vector<Volume*> all = disks_.volumes();
    tell_copies_apart(all);
    for (Disk& disk : disks_.disks()) {
        for (const std::string& warning : disk.table->warnings)
            warnings_.push_back("/dev/" + disk.name + ": " + warning);
    }
    auto claimed = [&](Volume& volume) {
        return std::any_of(found.begin(), found.end(),
                           [&](const OsRoot& root) { return is_claimed(volume, root); });
    };
    // When all that is plainly there was looked at, the rest is put together and comes behind it.
    auto more = [&] {
        if (!disks_.assemble()) return false;
        all = disks_.volumes();
        return true;
    };
    for (size_t i = 0; i < all.size() || more(); ++i) {
        Volume* volume = all[i];
        if (volume->snapshot || (volume->partition && excluded_by_type(*volume->partition))) continue;
        try {
            std::string type = disks_.superblock(*volume).type;
            if (type == "vfat") continue;
            if (mounts_.can_mount(type)) {
                if (claimed(*volume)) continue;
                type = disks_.certain_superblock(*volume).type;
            }
            if (!mounts_.can_mount(type)) {
                // What it is a member of is looked at later.
                if (const std::string what = mounts_.unopenable(type); !what.empty())
                    unopenable_.push_back(volume->device + " " + what);
                continue;
            }
            // A btrfs over several devices is on each of them.
            const std::string same = "UUID=" + disks_.superblock(*volume).uuid;
            if (type == "btrfs" && std::any_of(all.begin(), all.begin() + static_cast<ptrdiff_t>(i),
                                               [&](Volume* other) { return disks_.matches(*other, same); }))
                continue;
            size_t before = mounts_.count();
            OsRoot root = mount_candidate(*volume);
            if (!is_os_root(root.tree, !root.fstab.empty())) {
                root.tree = GuestTree();  // gives the mount free
                if (!read_only_ || type == "btrfs") mounts_.unmount_to(before);
                if (type == "btrfs") find_in_subvolumes(*volume, found);
                continue;
            }
            found.push_back(std::move(root));
        } catch (const Failure& failure) {
            warnings_.push_back(failure.message());
        }
    }
    // One that was taken for a root before the fstab that claims it was read.
    if (found.size() > 1) {
        std::vector<Volume*> parts;
        for (const OsRoot& root : found) {
            if (claimed(*root.volume)) parts.push_back(root.volume);
        }
        std::erase_if(found, [&](const OsRoot& root) {
            return std::find(parts.begin(), parts.end(), root.volume) != parts.end();
        });
    }
    // Beside a system such are somebody's data; where there is none, it is what was looked for.
    if (found.empty()) warnings_.insert(warnings_.end(), unopenable_.begin(), unopenable_.end());
    return found;
}

OsRoot OsFinder::open(std::string_view device) {
    OsRoot root = mount_candidate(disks_.get(device));
    if (!is_os_root(root.tree, !root.fstab.empty()))
        throw Failure(proto::NOT_FOUND, "there is no operating system on " + std::string(device));
    return root;
}

namespace {

// What an entry names; by the guest's own name of an encrypted volume too.
Volume* find_entry(Disks& disks, const FstabEntry& entry,
                   const std::map<std::string, std::string>& crypttab) {
    Volume* volume = disks.find_spec(entry.spec);
    if (volume) return volume;
    auto crypt = crypttab.find(entry.spec);
    if (crypt == crypttab.end()) return nullptr;
    Volume* locked = disks.find_spec(crypt->second);
    return locked ? disks.find_decrypted(*locked) : nullptr;
}

// Mounts what an entry names. nullptr: there is no such device, which is a warning unless the entry allows
// it.
Volume* mount_entry(Disks& disks, Mounts& mounts, const GuestTree& tree, const FstabEntry& entry,
                    const std::map<std::string, std::string>& crypttab, bool read_only,
                    std::vector<std::string>& warnings) {
    Volume* volume = find_entry(disks, entry, crypttab);
    if (!volume) {
        if (!entry.has_option("nofail"))
            warnings.push_back("/etc/fstab names " + entry.spec + " for " + entry.path +
                               ", which is not there");
        return nullptr;
    }
    // Of the options only those count that choose what is mounted.
    std::string options;
    if (std::string subvolume = subvolume_of(entry); !subvolume.empty()) {
        if (Volume* found = disks.find("btrfsvol:" + volume->device + "/" + subvolume)) volume = found;
    } else if (std::string id = entry.option_value("subvolid"); !id.empty()) {
        options = "subvolid=" + id;
    }
    mounts.mount_below(tree, entry.path, *volume, {options, {}, read_only || volume->read_only()});
    return volume;
}

}  // namespace

std::vector<OsMount> OsFinder::mount_tree(const OsRoot& root) {
    std::vector<OsMount> result;
    for (const FstabEntry& entry : root.fstab) {
        Volume* volume = root.volume;
        if (entry.path != "/") {
            try {
                volume = mount_entry(disks_, mounts_, root.tree, entry, root.crypttab, read_only_, warnings_);
            } catch (const Failure& failure) {
                volume = nullptr;
                warnings_.push_back(entry.path + ": " + failure.message());
            }
        }
        result.push_back({entry, volume});
    }
    return result;
}

void OsFinder::defer_tree(GuestTree& tree, const OsRoot& root) {
    for (const FstabEntry& entry : root.fstab) {
        if (entry.path == "/") continue;
        tree.defer(entry.path, [&disks = disks_, &mounts = mounts_, &tree, entry, crypttab = root.crypttab,
                                read_only = read_only_] {
            std::vector<std::string> warnings;
            mount_entry(disks, mounts, tree, entry, crypttab, read_only, warnings);
            if (!warnings.empty()) throw Failure(proto::NOT_FOUND, warnings[0]);
        });
    }
}

}  // namespace inspect::agent
