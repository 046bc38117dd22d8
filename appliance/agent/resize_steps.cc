// SPDX-License-Identifier: GPL-2.0-or-later
#include <fcntl.h>
#include <linux/blkpg.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include <cerrno>
#include <string_view>

#include "failure.h"
#include "partition_edit.h"
#include "resize.h"
#include "tool.h"

namespace inspect::agent {

namespace {

constexpr char kMountPoint[] = "/tmp/resize";

bool is_ext(std::string_view type) { return type == "ext2" || type == "ext3" || type == "ext4"; }

std::string sectors(uint64_t bytes) { return std::to_string(bytes / 512); }

class Step {
  public:
    explicit Step(const ResizeContext& context) : context_(context), disks_(context.disks) {}

    void check(const std::string& device) {
        Volume& volume = ready(device);
        if (!is_ext(disks_.superblock(volume).type)) return;
        const ToolResult result = run({"/usr/sbin/e2fsck", "-f", "-p", volume.node});
        // 1: errors were corrected. 2: and the system should be rebooted, which is about a mounted root.
        if (result.child.succeeded() || result.exited_with(1) || result.exited_with(2)) return;
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
            std::vector<std::string> arguments = {"/usr/sbin/resize2fs", volume.node};
            if (!request.grow()) arguments.push_back(sectors(request.size()) + "s");
            run(arguments).require(what);
        } else if (type == "xfs") {
            in_mounted(volume, [&] { run({"/usr/sbin/xfs_growfs", "-d", kMountPoint}).require(what); });
        } else if (type == "btrfs") {
            const std::string size = request.grow() ? "max" : std::to_string(request.size());
            in_mounted(volume, [&] {
                run({"/usr/bin/btrfs", "filesystem", "resize", size, kMountPoint}).require(what);
            });
        } else if (type == "ntfs") {
            std::vector<std::string> arguments = {"/usr/sbin/ntfsresize", "--force", "--no-progress-bar"};
            if (!request.grow())
                arguments.insert(arguments.end(), {"--size", std::to_string(request.size())});
            arguments.push_back(volume.node);
            run(arguments).require(what);
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
        run(arguments).require("make swap space on " + request.device());
        forget(volume);
    }

  private:
    ToolResult run(const std::vector<std::string>& arguments) {
        return run_tool(context_.connection, arguments);
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

    template <typename Work>
    void in_mounted(Volume& volume, Work work) {
        ::mkdir(kMountPoint, 0700);
        const size_t before = context_.mounts.count();
        {
            const Fd root =
                context_.mounts.mount(volume, kMountPoint, {.options = {}, .type = {}, .read_only = false});
            work();
        }
        context_.mounts.unmount_to(before);
    }

    static void forget(Volume& volume) { volume.superblock.reset(); }

    const ResizeContext& context_;
    Disks& disks_;
};

}  // namespace

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
        case proto::ResizeStep::kPhysicalVolume:
        case proto::ResizeStep::kLogicalVolume:
        case proto::ResizeStep::STEP_NOT_SET:
            break;
    }
    throw Failure(proto::UNSUPPORTED,
                  "a step that this appliance doesn't know: it is older than the program");
}

}  // namespace inspect::agent
