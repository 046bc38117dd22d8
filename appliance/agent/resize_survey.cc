// SPDX-License-Identifier: GPL-2.0-or-later
#include <algorithm>
#include <cstdlib>
#include <string_view>

#include "child.h"
#include "failure.h"
#include "geometry.h"
#include "resize.h"
#include "tool.h"

namespace inspect::agent {

namespace {

using Content = proto::DiskSurvey::Content;

bool is_ext(std::string_view type) { return type == "ext2" || type == "ext3" || type == "ext4"; }

class Survey {
  public:
    Survey(const ResizeContext& context, const proto::SurveyDisk& request, proto::DiskSurvey& survey)
        : context_(context), request_(request), survey_(survey) {}

    void make() {
        const std::vector<Volume*> volumes = context_.disks.volumes(true);
        const auto name = parse_device_name(request_.device());
        Disk* disk = nullptr;
        for (Disk& candidate : context_.disks.disks()) {
            if (name && name->partition == 0 && "/dev/" + candidate.name == "/dev/" + disk_name(name->disk))
                disk = &candidate;
        }
        if (!disk) throw Failure(proto::NOT_FOUND, "there is no disk " + request_.device(), ENOENT);
        survey_.set_sector_size(disk->sector_size);
        survey_.set_table(disk->table->type);
        survey_.set_table_obstacle(disk->table->obstacle);
        survey_.set_reserved_at_start(disk->table->reserved_at_start);
        survey_.set_reserved_at_end(disk->table->reserved_at_end);
        for (const Partition& partition : disk->table->partitions) add(*disk, partition);
        for (Volume* volume : volumes) {
            if (volume->disk != disk) continue;
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
        const uint64_t start = volume.partition ? volume.partition->start : 0;
        const Geometry geometry = read_geometry(volume.disk->fd.get(), start, volume.size, superblock.type);
        content.set_size(geometry.size);
        content.set_granule(geometry.granule);
        content.set_header(geometry.header);
        if (geometry.used) content.set_used(*geometry.used);
        if (geometry.size > volume.size)
            content.set_obstacle("what is in it is larger than it is: it may have been cut off");
        if (geometry.devices > 1) content.set_obstacle("it is one of several devices of a btrfs file system");
        const auto& wanted = request_.minimum_of();
        if (std::find(wanted.begin(), wanted.end(), volume.device) != wanted.end())
            find_minimum(volume, content);
    }

    // By the file system's own tool: only that knows what it can move.
    void find_minimum(Volume& volume, Content& content) {
        context_.disks.make_node(volume);
        std::optional<uint64_t> minimum;
        if (is_ext(content.type())) {
            const ToolResult result =
                run_tool(context_.connection, {"/usr/sbin/resize2fs", "-P", volume.node});
            result.require("find out how small " + volume.device + " can be made");
            minimum = number_after(result.output, "filesystem: ");
            if (minimum) *minimum *= content.granule();
        }
        if (content.type() == "ntfs") {
            const ToolResult result =
                run_tool(context_.connection,
                         {"/usr/sbin/ntfsresize", "--info", "--force", "--no-progress-bar", volume.node});
            result.require("find out how small " + volume.device + " can be made");
            minimum = number_after(result.output, "You might resize at ");
        }
        if (minimum) content.set_minimum(*minimum);
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
};

}  // namespace

void survey_disk(const ResizeContext& context, const proto::SurveyDisk& request, proto::DiskSurvey& survey) {
    Survey(context, request, survey).make();
}

}  // namespace inspect::agent
