// SPDX-License-Identifier: GPL-2.0-or-later
#include <fcntl.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <string_view>

#include "base/checked.h"
#include "base/fd.h"
#include "failure.h"
#include "fat_check.h"
#include "fat_resize.h"
#include "geometry.h"
#include "partition_format.h"
#include "programs.h"
#include "resize.h"
#include "resize_groups.h"
#include "tool_text.h"
#include "xfs_recreate.h"

namespace inspect::agent {

namespace {

using Content = proto::DiskSurvey::Content;

class Survey {
  public:
    Survey(const ResizeContext& context, const proto::SurveyDisk& request, proto::DiskSurvey& survey)
        : context_(context), request_(request), survey_(survey) {}

    void make() {
        volumes_ = context_.disks.volumes(true);
        Disk& disk = find_disk();
        survey_.set_sector_size(disk.sector_size);
        survey_.set_table(disk.table->type);
        survey_.set_table_obstacle(disk.table->obstacle);
        survey_.set_reserved_at_end(disk.table->reserved_at_end);
        // Only a disk that has parts of a stack is put together, because that takes time.
        const bool stacked = std::any_of(volumes_.begin(), volumes_.end(), [&](Volume* volume) {
            const std::string& type = context_.disks.superblock(*volume, true).type;
            return type == "LVM2_member" || type == "crypto_LUKS";
        });
        if (stacked) {
            context_.disks.assemble();
            volumes_ = context_.disks.volumes(true);
            find_groups();
        }
        for (const Partition& partition : disk.table->partitions) add(disk, partition);
        for (Volume* volume : volumes_) {
            if (volume->disk != &disk || volume->kind != VolumeKind::kPlain) continue;
            if (!volume->partition) {
                describe(*volume, *survey_.mutable_whole());
                continue;
            }
            for (proto::DiskSurvey::Partition& partition : *survey_.mutable_partitions()) {
                if (partition.number() == volume->partition->number)
                    describe(*volume, *partition.mutable_content());
            }
        }
    }

  private:
    Disk& find_disk() {
        for (Disk& disk : context_.disks.disks()) {
            if ("/dev/" + disk.name == request_.device()) return disk;
        }
        throw Failure(proto::NOT_FOUND, "there is no disk " + request_.device(), ENOENT);
    }

    void find_groups() {
        std::vector<Volume*> members;
        for (Volume* volume : volumes_) {
            if (context_.disks.superblock(*volume, true).type != "LVM2_member") continue;
            context_.disks.make_node(*volume);
            members.push_back(volume);
        }
        if (members.empty()) return;
        for (proto::DiskSurvey::VolumeGroup& group : report_groups(programs_, members)) {
            for (proto::DiskSurvey::LogicalVolume& logical : *group.mutable_logical_volumes()) {
                if (Volume* volume = context_.disks.find_assembled(logical.device()))
                    describe(*volume, *logical.mutable_content());
            }
            *survey_.add_volume_groups() = std::move(group);
        }
    }

    void add(const Disk& disk, const Partition& from) {
        proto::DiskSurvey::Partition& partition = *survey_.add_partitions();
        partition.set_number(from.number);
        partition.set_device("/dev/" + disk.name + std::to_string(from.number));
        partition.set_start(from.start);
        partition.set_size(from.size);
        partition.set_type(from.type);
        partition.set_uuid(from.uuid);
        partition.set_name(from.label);
        partition.set_attributes(from.attributes);
        partition.set_extended(from.container);
        partition.set_logical(from.logical);
        partition.set_reserved_from(from.logical ? from.record : from.start);
    }

    void describe(Volume& volume, Content& content) {
        const Superblock& superblock = context_.disks.superblock(volume, true);
        content.set_device(volume.device);
        content.set_type(superblock.type);
        content.set_label(superblock.label);
        content.set_uuid(superblock.uuid);
        const Geometry geometry =
            read_geometry(volume.reader(), volume.start(), volume.size, superblock.type);
        content.set_size(std::min(geometry.size, volume.size));
        content.set_granule(geometry.granule);
        content.set_header(std::min(geometry.header, content.size()));
        if (geometry.used) content.set_used(std::min(*geometry.used, content.size()));
        content.set_fixed(geometry.fixed);
        if (geometry.maximum) content.set_maximum(*geometry.maximum);
        if (geometry.size > volume.size || geometry.header > volume.size)
            content.set_obstacle("what is in it is larger than it is: it may have been cut off");
        content.set_devices(geometry.devices);
        if (geometry.devices > 1) content.set_obstacle("it is one of several devices of a btrfs file system");
        if (volume.degraded) content.set_obstacle("it is on a RAID that is degraded: repair that first");
        if (superblock.type == "crypto_LUKS") {
            for (Volume* opened : volumes_) {
                if (opened->kind == VolumeKind::kDecrypted && opened->parts.at(0) == &volume)
                    describe(*opened, *content.add_inner());
            }
        }
        if (superblock.type == "LVM2_member") describe_member(volume, content);
        if (superblock.type == "ntfs") describe_ntfs(volume, content);
        if (superblock.type == "xfs" && request_.recreate()) describe_recreation(volume, content);
        const auto& wanted = request_.minimum_of();
        if (std::find(wanted.begin(), wanted.end(), volume.device) != wanted.end())
            find_minimum(volume, content);
    }

    // What a physical volume has of its device is what its group knows of it.
    void describe_member(const Volume& volume, Content& content) {
        for (const proto::DiskSurvey::VolumeGroup& group : survey_.volume_groups()) {
            for (const proto::DiskSurvey::PhysicalVolume& physical : group.physical_volumes()) {
                if (physical.device() != volume.device) continue;
                content.set_volume_group(group.name());
                const auto data = checked_mul<uint64_t>(physical.extents(), group.extent_size());
                const auto size = data ? checked_add<uint64_t>(*data, physical.data_start()) : std::nullopt;
                if (size) content.set_size(*size);
            }
        }
    }

    // That it can't be made anew is known before what is in it is read.
    static void describe_recreation(const Volume& volume, Content& content) {
        std::array<uint8_t, kXfsSuperblockSize> bytes;
        if (!read_table_bytes(volume.reader(), volume.start() + volume.size, volume.start(), bytes.data(),
                              bytes.size()))
            return;
        try {
            mkfs_xfs_like(bytes, volume.node, volume.size);
        } catch (const Failure& failure) {
            content.set_obstacle(failure.message());
        }
    }

    // One that Windows left in the middle of something must not be resized.
    void describe_ntfs(Volume& volume, Content& content) {
        context_.disks.make_node(volume);
        std::vector<std::string> arguments = {"/usr/sbin/ntfsresize", "--info", "--no-progress-bar"};
        if (request_.ntfs_force()) arguments.push_back("--force");
        arguments.push_back(volume.node);
        const ProgramResult result = programs_.run(arguments);
        const std::string text = result.output + "\n" + result.child.errors;
        auto says = [&](std::string_view words) { return text.find(words) != text.npos; };
        const bool full = says("Volume is full");
        if (!result.child.succeeded() && !full) {
            content.set_obstacle(says("scheduled for check")
                                     ? "its NTFS is marked to be checked, by Windows or by an earlier "
                                       "resize; start Windows and "
                                       "shut it down completely (--ntfsresize-force resizes it as it is)"
                                     : "its NTFS can't be resized: " + complaint_of(text, result));
        } else if (hibernates(volume)) {
            content.set_obstacle(
                "Windows hibernates on it, or was shut down by its fast startup; start it and shut it down "
                "completely (shutdown /s /t 0)");
        } else if (full) {
            content.set_minimum(content.size());
        } else if (auto minimum = number_after(result.output, "You might resize at ")) {
            content.set_minimum(*minimum);
        }
    }

    // What ntfsresize says is wrong: "ERROR: ...", in its one line of many.
    static std::string complaint_of(std::string_view text, const ProgramResult& result) {
        std::string complaint;
        for_each_line(text, [&](std::string_view line) {
            if (complaint.empty() && line.starts_with("ERROR")) complaint = line;
        });
        return complaint.empty() ? result.child.describe("ntfsresize") : complaint;
    }

    // ntfsresize doesn't look.
    bool hibernates(Volume& volume) {
        bool found = false;
        with_mounted(context_.mounts, volume, true,
                     [&](const std::string& path) { found = Mounts::is_hibernated(path); });
        return found;
    }

    // By the file system's own tool: only that knows what it can move.
    void find_minimum(Volume& volume, Content& content) {
        context_.disks.make_node(volume);
        const std::string what = "find out how small " + volume.device + " can be made";
        std::optional<uint64_t> minimum;
        if (is_ext(content.type())) {
            minimum =
                number_after(output_of({"/usr/sbin/resize2fs", "-P", volume.node}, what), "filesystem: ");
            if (minimum) *minimum *= content.granule();
        } else if (content.type() == "btrfs") {
            with_mounted(context_.mounts, volume, true, [&](const std::string& path) {
                minimum = number_after(
                    output_of({"/usr/bin/btrfs", "inspect-internal", "min-dev-size", path}, what), "");
            });
        } else if (content.type() == "vfat" && content.fixed().empty()) {
            const auto poll = [this] { context_.connection.check_cancelled(); };
            check_fat(programs_, volume, poll);
            minimum = smallest_fat(open_file(volume.node, O_RDONLY).get(), 0, poll);
        }
        if (minimum) content.set_minimum(*minimum);
    }

    std::string output_of(const std::vector<std::string>& arguments, const std::string& what) {
        ProgramResult result = programs_.run(arguments);
        require(result, what);
        return std::move(result.output);
    }

    static std::optional<uint64_t> number_after(const std::string& text, std::string_view words) {
        const size_t at = text.find(words);
        if (at == text.npos) return std::nullopt;
        const uint64_t number = std::strtoull(text.c_str() + at + words.size(), nullptr, 10);
        constexpr uint64_t kMost = uint64_t{1} << 48;
        return number > 0 && number < kMost ? std::optional(number) : std::nullopt;
    }

    const ResizeContext& context_;
    const proto::SurveyDisk& request_;
    proto::DiskSurvey& survey_;
    Programs programs_{context_.connection};
    std::vector<Volume*> volumes_;
};

}  // namespace

void survey_disk(const ResizeContext& context, const proto::SurveyDisk& request, proto::DiskSurvey& survey) {
    Survey(context, request, survey).make();
}

}  // namespace inspect::agent
