// SPDX-License-Identifier: GPL-2.0-or-later
#include <fcntl.h>
#include <linux/blkpg.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <string_view>

#include "ext_growth.h"
#include "failure.h"
#include "fat_check.h"
#include "fat_resize.h"
#include "geometry.h"
#include "lvm.h"
#include "partition_edit.h"
#include "recreate.h"
#include "resize.h"

namespace inspect::agent {

namespace {

constexpr char kMountPoint[] = "/tmp/resize";
constexpr unsigned long kExtResize = _IOW('f', 16, uint64_t);  // EXT4_IOC_RESIZE_FS, which no header exports

std::string sectors(uint64_t bytes) { return std::to_string(bytes / 512); }

class Step {
  public:
    explicit Step(const ResizeContext& context) : context_(context), disks_(context.disks) {}

    void check(const std::string& device) {
        Volume& volume = ready(device);
        const std::string& type = disks_.superblock(volume).type;
        if (type == "vfat") return check_fat(programs_, volume, poll_);
        if (!is_ext(type)) return;
        const ProgramResult result = programs_.run({"/usr/sbin/e2fsck", "-f", "-p", volume.node});
        // 1: errors were corrected. 2: and the system should be rebooted, which is about a mounted root.
        constexpr int kMostRepaired = 2;
        const int status = result.child.status;
        if (WIFEXITED(status) && WEXITSTATUS(status) <= kMostRepaired) return;
        throw Failure(proto::CORRUPT,
                      "the file system on " + device +
                          " has errors that need a decision; repair it first: " + result.output);
    }

    void table(const proto::ResizeStep::Table& request) {
        Disk& disk = disk_of(request.disk());
        PartitionEdit edit;
        edit.disk_size = request.disk_size();
        for (const auto& partition : request.partitions()) edit.sizes[partition.number()] = partition.size();
        edit.removed.assign(request.removed().begin(), request.removed().end());
        const Fd fd = open_file(disk.node, O_RDWR);
        edit_partition_table(fd.get(), disk.size, disk.sector_size, edit);
        disks_.partitions_changed(disk, edit.sizes);
    }

    void filesystem(const proto::ResizeStep::Resize& request) {
        Volume& volume = ready(request.device());
        const std::string type = disks_.superblock(volume).type;
        const std::string what = "resize the file system on " + request.device();
        if (is_ext(type)) {
            if (request.grow() && grow_ext_mounted(volume, request.size())) return forget(volume);
            std::vector<std::string> arguments = {"/usr/sbin/resize2fs", volume.node};
            if (!request.grow()) arguments.push_back(sectors(request.size()) + "s");
            run(arguments, what);
        } else if (type == "xfs") {
            with_mounted(context_.mounts, volume, false, [&](const std::string& path) {
                run({"/usr/sbin/xfs_growfs", "-d", path}, what);
            });
        } else if (type == "btrfs") {
            const std::string size = request.grow() ? "max" : std::to_string(request.size());
            with_mounted(context_.mounts, volume, false, [&](const std::string& path) {
                run({"/usr/bin/btrfs", "filesystem", "resize", size, path}, what);
            });
        } else if (type == "ntfs") {
            std::vector<std::string> arguments = {"/usr/sbin/ntfsresize", "--force", "--no-progress-bar"};
            if (!request.grow())
                arguments.insert(arguments.end(), {"--size", std::to_string(request.size())});
            arguments.push_back(volume.node);
            run(arguments, what);
        } else if (type == "vfat") {
            resize_fat(open_file(volume.node, O_RDWR).get(), 0, request.size(), poll_);
            check_fat(programs_, volume, poll_);
        } else {
            throw Failure(proto::UNSUPPORTED, "cannot " + what + ": nothing here can resize " + type);
        }
        forget(volume);
    }

    void swap(const proto::ResizeStep::SwapSpace& request) {
        Volume& volume = ready(request.device());
        std::vector<std::string> arguments = {"/usr/sbin/mkswap"};
        if (!request.uuid().empty()) arguments.insert(arguments.end(), {"-U", request.uuid()});
        if (!request.label().empty()) arguments.insert(arguments.end(), {"-L", request.label()});
        arguments.push_back(volume.node);
        if (request.size() != 0) arguments.push_back(std::to_string(request.size() / 1024));
        run(arguments, "make swap space on " + request.device());
        forget(volume);
    }

    // The opened volume takes what its device has. One that is to become smaller is told how much that will
    // be.
    void luks(const proto::ResizeStep::Resize& request) {
        Volume& volume = ready(request.device());
        disks_.assemble();
        for (Volume* opened : disks_.volumes()) {
            if (opened->kind != VolumeKind::kDecrypted || opened->parts.at(0) != &volume) continue;
            std::vector<std::string> arguments = {"/usr/sbin/cryptsetup", "resize"};
            if (!request.grow()) {
                const uint64_t header =
                    read_geometry(volume.reader(), volume.start(), volume.size, "crypto_LUKS").header;
                if (request.size() <= header)
                    throw Failure(proto::NO_SPACE,
                                  request.device() + " would have no room behind its LUKS header");
                arguments.insert(arguments.end(), {"--size", sectors(request.size() - header)});
            }
            arguments.push_back(opened->node.substr(opened->node.rfind('/') + 1));
            return run(arguments, "resize the LUKS volume on " + request.device());
        }
        throw Failure(proto::DENIED,
                      request.device() + " is locked: it takes a key (--key) to resize what is in it");
    }

    void physical_volume(const proto::ResizeStep::Resize& request) {
        Volume& volume = ready(request.device());
        std::vector<std::string> arguments = {"pvresize", "-q", "-y"};
        if (!request.grow())
            arguments.insert(arguments.end(),
                             {"--setphysicalvolumesize", std::to_string(request.size()) + "b"});
        arguments.push_back(volume.node);
        require(run_lvm(programs_, physical_volumes(), arguments),
                "resize the physical volume " + request.device());
    }

    // The copying is a mirror's, which the kernel makes for that time.
    void move_extents(const proto::ResizeStep::MoveExtents& request) {
        Volume& volume = ready(request.device());
        if (request.first_extent() == 0)
            throw Failure(proto::USAGE, "nothing can lie before the first extent", EINVAL);
        const std::string first = std::to_string(request.first_extent());
        const std::string last = std::to_string(request.first_extent() - 1);
        require(run_lvm(programs_, physical_volumes(),
                        {"pvmove", "-q", "-y", "-i", "0", "--alloc", "anywhere",
                         volume.node + ":" + first + "-", volume.node + ":0-" + last}),
                "move what lies at the end of the physical volume " + request.device());
    }

    void logical_volume(const proto::ResizeStep::Resize& request) {
        Volume& volume = ready(request.device());
        if (volume.kind != VolumeKind::kLogical)
            throw Failure(proto::USAGE, request.device() + " is no logical volume", EINVAL);
        const std::string name = volume.group + request.device().substr(request.device().rfind('/'));
        require(run_lvm(programs_, physical_volumes(),
                        {request.grow() ? "lvextend" : "lvreduce", "-q", "-f", "-y", "-L",
                         std::to_string(request.size()) + "b", name}),
                "resize the logical volume " + request.device());
        volume.size = request.size();
    }

    void recreate(const proto::ResizeStep::Recreate& request) {
        Volume& volume = ready(request.device());
        if (disks_.superblock(volume).type != "xfs")
            throw Failure(proto::USAGE, request.device() + " is no XFS", EINVAL);
        recreate_xfs(context_, volume, request.size(), disk_of(request.room_disk()), request.room_start());
        forget(volume);
    }

  private:
    void run(const std::vector<std::string>& arguments, const std::string& what) {
        require(programs_.run(arguments), what);
    }

    // False: that can't be done, or wasn't, and resize2fs may try.
    bool grow_ext_mounted(Volume& volume, uint64_t new_size) {
        std::array<uint8_t, 1024> superblock;
        const Fd device = open_file(volume.node, O_RDONLY);
        constexpr off_t kSuperblock = 1024;
        if (::pread(device.get(), superblock.data(), superblock.size(), kSuperblock) !=
                static_cast<ssize_t>(superblock.size()) ||
            !ext_grows_mounted(superblock, new_size))
            return false;
        bool grown = false;
        try {
            with_mounted(context_.mounts, volume, false, [&](const std::string& path) {
                const Fd root = open_file(path, O_RDONLY | O_DIRECTORY);
                const unsigned log = superblock[24];
                const uint64_t blocks = new_size / (uint64_t{1024} << log);
                grown = ::ioctl(root.get(), kExtResize, &blocks) == 0;
            });
        } catch (const Failure&) {
            grown = false;
        }
        if (!grown) check(volume.device);  // resize2fs insists, once it was mounted
        return grown;
    }

    // The nodes of all of them, so that LVM finds the group whole.
    std::vector<std::string> physical_volumes() {
        disks_.assemble();
        std::vector<std::string> nodes;
        for (Volume* volume : disks_.volumes()) {
            if (disks_.superblock(*volume).type != "LVM2_member") continue;
            disks_.make_node(*volume);
            nodes.push_back(volume->node);
        }
        return nodes;
    }

    // With a device that programs can open.
    Volume& ready(const std::string& device) {
        Volume& volume = disks_.get(device);
        disks_.make_node(volume);
        return volume;
    }

    Disk& disk_of(const std::string& device) {
        for (Disk& disk : disks_.disks()) {
            if ("/dev/" + disk.name == device) return disk;
        }
        throw Failure(proto::NOT_FOUND, "there is no disk " + device, ENOENT);
    }

    static void forget(Volume& volume) { volume.superblock.reset(); }

    const ResizeContext& context_;
    Disks& disks_;
    Programs programs_{context_.connection};
    const std::function<void()> poll_ = [this] { context_.connection.check_cancelled(); };
};

}  // namespace

void require(const ProgramResult& result, const std::string& what) {
    if (result.child.succeeded()) return;
    // Some say on stdout what went wrong.
    constexpr size_t kShown = 500;
    std::string text = result.child.describe("the program");
    std::string last =
        result.output.substr(result.output.size() > kShown ? result.output.size() - kShown : 0);
    while (!last.empty() && last.back() == '\n') last.pop_back();
    if (!last.empty()) text += "; " + last;
    throw Failure(proto::INTERNAL, "cannot " + what + ": " + text);
}

void with_mounted(Mounts& mounts, Volume& volume, bool read_only,
                  const std::function<void(const std::string& path)>& work, const std::string& options,
                  bool with_journal) {
    ::mkdir(kMountPoint, 0700);
    const size_t before = mounts.count();
    try {
        // The descriptor is gone before it is unmounted.
        mounts
            .mount(volume, kMountPoint,
                   {.options = options, .type = {}, .read_only = read_only, .with_journal = with_journal})
            .reset();
        work(kMountPoint);
    } catch (...) {
        mounts.unmount_to(before);
        throw;
    }
    mounts.unmount_to(before);
}

void resize_step(const ResizeContext& context, const proto::ResizeStep& request) {
    Step step(context);
    switch (request.step_case()) {
        case proto::ResizeStep::kCheck:
            return step.check(request.check());
        case proto::ResizeStep::kTable:
            return step.table(request.table());
        case proto::ResizeStep::kFilesystem:
            return step.filesystem(request.filesystem());
        case proto::ResizeStep::kSwap:
            return step.swap(request.swap());
        case proto::ResizeStep::kLuks:
            return step.luks(request.luks());
        case proto::ResizeStep::kPhysicalVolume:
            return step.physical_volume(request.physical_volume());
        case proto::ResizeStep::kLogicalVolume:
            return step.logical_volume(request.logical_volume());
        case proto::ResizeStep::kRecreate:
            return step.recreate(request.recreate());
        case proto::ResizeStep::kMoveExtents:
            return step.move_extents(request.move_extents());
        case proto::ResizeStep::STEP_NOT_SET:
            break;
    }
    throw Failure(proto::UNSUPPORTED,
                  "a step that this appliance doesn't know: it is older than the program");
}

}  // namespace inspect::agent
