// SPDX-License-Identifier: GPL-2.0-or-later
#include "mounts.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/mount.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstring>
#include <utility>

#include "btrfs.h"
#include "failure.h"
#include "log.h"
#include "mount_options.h"

namespace inspect::agent {

namespace {

std::string holds(std::string_view what) {
    return "holds " + std::string(what) + ", which the appliance cannot open";
}

// libblkid's name and the driver's.
struct Driver {
    std::string_view type;
    const char* driver;
    bool read_only;  // the format or the driver can't be written
};
constexpr Driver kDrivers[] = {
    {"ext2", "ext4", false},      {"ext3", "ext4", false},        {"ext4", "ext4", false},
    {"xfs", "xfs", false},        {"vfat", "vfat", false},        {"ntfs", "ntfs3", false},
    {"iso9660", "iso9660", true}, {"squashfs", "squashfs", true}, {"erofs", "erofs", true},
    {"btrfs", "btrfs", false},    {"exfat", "exfat", false},      {"f2fs", "f2fs", false},
    {"udf", "udf", false},        {"hfsplus", "hfsplus", false},  {"hfs", "hfs", false},
};

constexpr std::string_view kNtfs3g = "ntfs-3g";

// "ZFS" for libblkid's "zfs_member". Empty: it has no other name.
std::string_view common_name(std::string_view type) {
    static constexpr std::pair<std::string_view, std::string_view> kNames[] = {
        {"zfs_member", "ZFS"},
        {"bcache", "a bcache device"},
        {"bcachefs", "bcachefs"},
        {"apfs", "APFS"},
        {"ReFS", "ReFS"},
        {"refs", "ReFS"},
        {"VMFS", "VMFS"},
        {"VMFS_volume_member", "VMFS"},
        {"drbd", "a DRBD device"},
        {"drbdmanage_control_volume", "a DRBD device"},
        {"isw_raid_member", "a firmware RAID (Intel)"},
        {"ddf_raid_member", "a firmware RAID (DDF)"},
        {"stratis", "a Stratis pool"},
        {"vdo", "VDO"},
        {"ceph_bluestore", "Ceph's BlueStore"},
        {"LVM1_member", "a physical volume of LVM1"},
        {"jfs", "JFS"},
        {"reiserfs", "ReiserFS"},
        {"nilfs2", "NILFS2"},
        {"ufs", "UFS"},
        {"minix", "Minix"},
    };
    for (const auto& [known, name] : kNames) {
        if (type == known) return name;
    }
    return {};
}

// What the kernel is told besides what the user asked for.
void add_own_options(MountOptions& options, std::string_view type, const Superblock& superblock,
                     bool with_journal) {
    if (is_ext(type)) {
        // A superblock may ask for a panic when something is wrong.
        options.add("errors=remount-ro");
        if (options.read_only()) {
            // A clean journal has nothing to say, and reading it in costs the most of such a mount.
            if (!superblock.needs_recovery && !with_journal) options.add("noload");
        } else {
            // No work in the background, and nothing is written that nobody asked for.
            options.add("noinit_itable");
            options.add("no_prefetch_block_bitmaps");
        }
    } else if (type == "xfs") {
        options.add("nouuid");  // copies of a disk are normal here
    } else if (type == "vfat") {
        options.add("utf8=1");
        options.add("errors=remount-ro");
    }
}

}  // namespace

void Mounts::prepare() {
    Fd file(::open("/proc/filesystems", O_RDONLY | O_CLOEXEC));
    std::string text(16 << 10, '\0');
    ssize_t n = file ? ::read(file.get(), text.data(), text.size()) : 0;
    text.resize(n > 0 ? static_cast<size_t>(n) : 0);
    utsname kernel{};
    ::uname(&kernel);
    const std::string modules = std::string("/lib/modules/") + kernel.release + "/kernel/fs/";
    for (const Driver& known : kDrivers) {
        // One that is a module the kernel loads by itself.
        const std::string driver = known.driver;
        if (text.find("\t" + driver + "\n") != std::string::npos ||
            ::access((modules + driver + "/" + driver + ".ko").c_str(), F_OK) == 0)
            types_.emplace_back(known.type);
    }
    kernel_log_ = Fd(::open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC));
    if (kernel_log_) ::lseek(kernel_log_.get(), 0, SEEK_END);
}

bool Mounts::can_mount(std::string_view type) const {
    return std::find(types_.begin(), types_.end(), type) != types_.end();
}

std::string Mounts::unopenable(std::string_view type) const {
    static constexpr std::string_view kOthers[] = {
        "", "swap", "swsuspend", "crypto_LUKS", "BitLocker", "LVM2_member", "linux_raid_member"};
    if (can_mount(type) || std::find(std::begin(kOthers), std::end(kOthers), type) != std::end(kOthers))
        return {};
    const std::string_view name = common_name(type);
    return holds(name.empty() ? type : name);
}

// Why something that is no file system can't be mounted.
std::string Mounts::why_not(Volume& volume, std::string_view type) {
    if (type.empty()) return "no known file system is on it";
    if (type == "crypto_LUKS") return "it is encrypted (LUKS): give its key (--key)";
    if (type == "BitLocker") return "it is encrypted (BitLocker): give its key (--key)";
    if (type == "LVM2_member") return "it is a physical volume of LVM";
    if (type == "swap") return "it is swap space";
    if (type == "linux_raid_member") {
        disks_.assemble();
        for (const Volume* array : disks_.volumes()) {
            if (array->kind == VolumeKind::kArray && std::ranges::count(array->parts, &volume) > 0)
                return "it is a member of the RAID " + array->device;
        }
        return "it is a member of a RAID";
    }
    if (const std::string_view name = common_name(type); !name.empty()) return "it " + holds(name);
    return "the appliance has no driver for it";
}

// What the kernel logged about the device since the last time, the last words of it: "group descriptors
// corrupted!".
std::string Mounts::kernel_reason(const Volume& volume) {
    if (!kernel_log_) return {};
    std::string node = volume.node.substr(volume.node.rfind('/') + 1);
    std::string reason;
    char record[1024];
    for (;;) {
        ssize_t n = ::read(kernel_log_.get(), record, sizeof record);
        if (n < 0 && (errno == EPIPE || errno == EINTR)) continue;  // records were overwritten
        if (n <= 0) break;
        std::string_view text(record, static_cast<size_t>(n));  // "6,123,456,-;message\n"
        size_t semicolon = text.find(';');
        if (semicolon == text.npos) continue;
        text = text.substr(semicolon + 1);
        text = text.substr(0, text.find('\n'));
        // "EXT4-fs (vda1): ..." and "EXT4-fs error (device vda1): ..."
        size_t at = text.find(node + "):");
        if (at == text.npos) continue;
        text = text.substr(at + node.size() + 2);
        while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
        if (!text.empty()) reason = text;
    }
    return reason;
}

void Mounts::mount_at(Volume& volume, const std::string& target, const Request& request) {
    const Superblock& superblock = disks_.certain_superblock(volume);
    std::string type = request.type.empty() || request.type == "auto" ? superblock.type : request.type;
    const Driver* driver = std::find_if(std::begin(kDrivers), std::end(kDrivers), [&](const Driver& known) {
        return known.type == type || known.driver == type || (known.type == "ntfs" && type == kNtfs3g);
    });
    if (driver == std::end(kDrivers) || !can_mount(driver->type)) {
        throw Failure(proto::UNSUPPORTED, "cannot mount " + volume.device +
                                              (type.empty() ? "" : " (" + type + ")") + ": " +
                                              why_not(volume, type));
    }
    if (!request.read_only && volume.read_only()) {
        throw Failure(proto::DENIED,
                      "cannot mount " + volume.device + " for writing: " +
                          (volume.degraded ? "the RAID is degraded" : "the disk is read-only"),
                      EROFS);
    }
    bool read_only = request.read_only || driver->read_only;
    for (const Mounted& other : mounted_) {
        if (other.volume != &volume || other.read_only == read_only) continue;
        // The kernel has one state for all mounts of a file system.
        if (other.read_only)
            throw Failure(proto::BUSY, volume.device + " is mounted read-only already", EBUSY);
        read_only = false;
    }
    MountOptions wanted;
    wanted.add_all(request.options);
    const std::string& user_data = wanted.data;
    MountOptions options;
    options.flags = MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_NOATIME;
    if (read_only) options.add("ro");
    add_own_options(options, driver->type, superblock, request.with_journal);
    options.add_all(request.options);  // after ours, so that the user's word counts
    options.add(read_only ? "ro" : "rw");
    if (volume.kind == VolumeKind::kSubvolume && !options.has("subvol") && !options.has("subvolid"))
        options.add("subvol=" + volume.subvolume);
    if (driver->type == "btrfs") options.add_all(btrfs_devices(volume));
    note("mount -t " + std::string(driver->driver) + " -o " + (options.read_only() ? "ro," : "rw,") +
         options.data + " " + volume.node + " " + target);
    disks_.make_node(volume);
    const bool ntfs = driver->type == "ntfs";
    // The kernel's driver can't make the master file table longer, so that soon no file can be added.
    if (type == kNtfs3g || (type == "ntfs" && !options.read_only())) {
        const std::optional<std::string> trouble = mount_by_ntfs_3g(volume, target, options);
        if (!trouble) {
            if (!options.read_only()) refuse_hibernated(volume, target);
            mounted_.push_back({&volume, target, {}, options.read_only()});
            return;
        }
        if (type == kNtfs3g)
            throw Failure(user_data.empty() ? proto::CORRUPT : proto::USAGE,
                          "cannot mount " + volume.device + " (" + type + "): " + *trouble);
    }
    if (::mount(volume.node.c_str(), target.c_str(), driver->driver, options.flags, options.data.c_str()) <
        0) {
        int errnum = errno;
        std::string reason = kernel_reason(volume);
        if (type == "ntfs" && options.read_only() && !mount_by_ntfs_3g(volume, target, options)) {
            mounted_.push_back({&volume, target, {}, options.read_only()});
            return;
        }
        // EINVAL is ext4's word for a bad superblock, and everyone's for a bad option.
        proto::ErrorKind kind = errno_kind(errnum);
        if (kind == proto::USAGE) kind = user_data.empty() ? proto::CORRUPT : proto::USAGE;
        std::string message = "cannot mount " + volume.device + " (" + type + "): ";
        if (errnum == EINVAL) {
            message += user_data.empty() ? "the file system is damaged"
                                         : "its options are not understood (" + user_data + ")";
        } else {
            message += errno_text(errnum);
        }
        if (!reason.empty()) message += ": " + reason;
        throw Failure(kind, message, errnum);
    }
    if (ntfs && !options.read_only()) refuse_hibernated(volume, target);
    mounted_.push_back({&volume, target, {}, options.read_only()});
}

// "device=..." for each of the devices that the file system is on besides this one.
std::string Mounts::btrfs_devices(Volume& volume) {
    if (btrfs_device_count(volume.reader(), volume.start()) <= 1) return {};
    std::string options;
    const std::string uuid = disks_.superblock(volume).uuid;
    disks_.assemble();
    for (Volume* other : disks_.volumes()) {
        try {
            if (other->node == volume.node || disks_.superblock(*other).uuid != uuid) continue;
            disks_.make_node(*other);
            options += (options.empty() ? "device=" : ",device=") + other->node;
        } catch (const Failure& failure) {
            note(failure.message());
        }
    }
    return options;
}

// The kernel's driver leaves a volume alone that was not unmounted cleanly; ntfs-3g replays its journal.
std::optional<std::string> Mounts::mount_by_ntfs_3g(Volume& volume, const std::string& target,
                                                    const MountOptions& options) {
    if (!programs_) return "there is no ntfs-3g";
    std::string words = options.read_only() ? "ro,noatime" : "rw,noatime";
    if (!options.data.empty()) words += "," + options.data;
    const ProgramResult result = programs_->run({"/usr/bin/ntfs-3g", "-o", words, volume.node, target});
    if (result.child.succeeded()) return std::nullopt;
    return result.child.describe("ntfs-3g");
}

// Nothing may be written to an NTFS that Windows has hibernated on, or left by its "fast startup": what
// Windows holds in memory would contradict it. ntfs-3g falls back to read-only there, the kernel's driver
// doesn't look.
bool Mounts::is_hibernated(const std::string& target) {
    Fd file(::open((target + "/hiberfil.sys").c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
    char start[4];
    return file && ::read(file.get(), start, sizeof start) == sizeof start &&
           std::string_view(start, sizeof start) == "hibr";
}

void Mounts::refuse_hibernated(const Volume& volume, const std::string& target) {
    struct statvfs status;
    const bool read_only = ::statvfs(target.c_str(), &status) == 0 && (status.f_flag & ST_RDONLY);
    if (!read_only && !is_hibernated(target)) return;
    ::umount2(target.c_str(), UMOUNT_NOFOLLOW);
    throw Failure(
        proto::DENIED,
        "cannot mount " + volume.device +
            " (ntfs) for writing: Windows is hibernated on it, or was shut down by its fast startup. Shut it "
            "down completely (shutdown /s /t 0), or mount it read-only",
        EROFS);
}

Fd Mounts::mount(Volume& volume, const std::string& target, const Request& request) {
    mount_at(volume, target, request);
    Fd root(::open(target.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!root) fail_errno("cannot open the root directory of", volume.device);
    if (!mounted_.back().read_only) mounted_.back().writable_root = root.dup();
    return root;
}

void Mounts::mount_below(const GuestTree& tree, std::string_view path, Volume& volume,
                         const Request& request) {
    Fd directory = tree.try_open(path, O_PATH | O_DIRECTORY);
    if (!directory) fail_errno("cannot mount " + volume.device + " on", path);
    FdPath handle(directory.get());
    char target[PATH_MAX];
    ssize_t size = ::readlink(handle.c_str(), target, sizeof target);
    if (size < 0 || static_cast<size_t>(size) == sizeof target) fail_errno("cannot mount on", path);
    mount_at(volume, handle.c_str(), request);
    Mounted& mounted = mounted_.back();
    mounted.target.assign(target, static_cast<size_t>(size));
    if (!mounted.read_only) mounted.writable_root = tree.open(path, O_RDONLY | O_DIRECTORY);
}

// Reports what didn't reach the disk.
void Mounts::unmount(Mounted& mounted) {
    std::string trouble;
    int errnum = 0;
    auto blame = [&](std::string what, int number) {
        if (!trouble.empty()) return;
        trouble = std::move(what);
        errnum = number;
    };
    if (mounted.writable_root) {
        int fd = mounted.writable_root.get();
        if (::syncfs(fd) < 0)
            blame("cannot write everything to " + mounted.volume->device + ": " + errno_text(errno), errno);
        struct statfs status;
        // An error made the kernel stop writing.
        if (::fstatfs(fd, &status) == 0 && (status.f_flags & ST_RDONLY)) {
            std::string reason = kernel_reason(*mounted.volume);
            blame("the file system on " + mounted.volume->device +
                      " is damaged, and the kernel stopped writing to it" +
                      (reason.empty() ? "" : ": " + reason),
                  EUCLEAN);
        }
        mounted.writable_root.reset();
    }
    if (::umount2(mounted.target.c_str(), UMOUNT_NOFOLLOW) < 0) {
        int saved = errno;
        ::umount2(mounted.target.c_str(), UMOUNT_NOFOLLOW | MNT_DETACH);
        if (!mounted.read_only)
            blame("cannot unmount " + mounted.volume->device + ": " + errno_text(saved), saved);
    }
    if (!trouble.empty()) throw Failure(errno_kind(errnum), trouble, errnum);
}

void Mounts::unmount_to(size_t count) {
    std::optional<Failure> first;
    while (mounted_.size() > count) {
        try {
            unmount(mounted_.back());
        } catch (const Failure& failure) {
            if (!first) first = failure;
        }
        mounted_.pop_back();
    }
    if (first) throw *first;
}

}  // namespace inspect::agent
