// SPDX-License-Identifier: GPL-2.0-or-later
#include "resize_groups.h"

#include <algorithm>
#include <sstream>

#include "failure.h"
#include "lvm.h"
#include "tool_text.h"

namespace inspect::agent {

namespace {

using Group = proto::DiskSurvey::VolumeGroup;

class Parser {
  public:
    explicit Parser(const std::vector<Volume*>& members) : members_(members) {}

    void line(LvmFields fields) {
        if (fields["VG_NAME"].empty()) return;
        if (fields.contains("LV_NAME")) {
            add_segment(fields);
        } else if (fields.contains("PV_NAME")) {
            add_physical(fields);
        }
    }

    std::vector<Group> take() { return std::move(groups_); }

  private:
    Group& group(LvmFields& fields) {
        for (Group& known : groups_) {
            if (known.name() == fields["VG_NAME"]) return known;
        }
        Group& added = groups_.emplace_back();
        added.set_name(fields["VG_NAME"]);
        added.set_extent_size(lvm_number(fields["VG_EXTENT_SIZE"]));
        return added;
    }

    const Volume* member(const std::string& node) const {
        for (const Volume* volume : members_) {
            if (volume->node == node) return volume;
        }
        return nullptr;
    }

    void add_physical(LvmFields& fields) {
        Group& of = group(fields);
        const Volume* volume = member(fields["PV_NAME"]);
        if (!volume) {
            of.set_missing(true);
            return;
        }
        auto& physical = *of.add_physical_volumes();
        physical.set_device(volume->device);
        physical.set_data_start(lvm_number(fields["PE_START"]));
        physical.set_extents(lvm_number(fields["PV_PE_COUNT"]));
    }

    void add_segment(LvmFields& fields) {
        Group& of = group(fields);
        std::string name = fields["LV_NAME"];
        const bool hidden = name.starts_with('[');  // a part of another
        if (hidden) name = name.substr(1, name.size() - 2);
        auto& volumes = *of.mutable_logical_volumes();
        auto found = std::find_if(volumes.begin(), volumes.end(),
                                  [&](const auto& known) { return known.name() == name; });
        auto& volume = found != volumes.end() ? *found : *of.add_logical_volumes();
        const std::string& attributes = fields["LV_ATTR"];
        if (volume.name().empty()) {
            volume.set_name(name);
            volume.set_device("/dev/" + of.name() + "/" + name);
            volume.set_size(lvm_number(fields["LV_SIZE"]));
            volume.set_kind(fields["SEGTYPE"]);
            // '-' is neither an origin, nor a snapshot, nor a pool, nor a mirror...
            volume.set_plain(!hidden && attributes.starts_with('-'));
        }
        if (fields["SEGTYPE"] != "linear") volume.set_plain(false);
        std::istringstream ranges(fields["SEG_PE_RANGES"]);  // "/dev/vda4:0-350", of each stripe one
        for (std::string range; ranges >> range;) add_range(of, volume, range);
    }

    void add_range(const Group& of, proto::DiskSurvey::LogicalVolume& volume, const std::string& range) {
        const size_t colon = range.rfind(':');
        const size_t dash = range.find('-', colon == range.npos ? 0 : colon);
        if (colon == range.npos || dash == range.npos) return;
        const Volume* on = member(range.substr(0, colon));
        if (!on) return;  // a part that is itself a logical volume, or missing
        for (int i = 0; i < of.physical_volumes_size(); ++i) {
            if (of.physical_volumes(i).device() != on->device) continue;
            const uint64_t first = lvm_number(range.substr(colon + 1));
            const uint64_t last = lvm_number(range.substr(dash + 1));
            if (last < first) return;
            auto& segment = *volume.add_segments();
            segment.set_physical_volume(static_cast<uint32_t>(i));
            segment.set_first_extent(first);
            segment.set_extents(last - first + 1);
        }
    }

    const std::vector<Volume*>& members_;
    std::vector<Group> groups_;
};

}  // namespace

std::vector<Group> parse_groups(std::string_view report, const std::vector<Volume*>& members) {
    Parser parser(members);
    for_each_line(report, [&](std::string_view line) { parser.line(parse_lvm_line(line)); });
    return parser.take();
}

std::vector<Group> report_groups(Programs& programs, const std::vector<Volume*>& members) {
    std::vector<std::string> nodes;
    for (const Volume* volume : members) nodes.push_back(volume->node);
    const std::string form(kLvmReportForm);
    const ProgramResult result = run_lvm_script(
        programs, nodes,
        "pvs" + form + "vg_name,pv_name,vg_extent_size,pe_start,pv_pe_count\nlvs -a --segments" + form +
            "vg_name,vg_extent_size,lv_name,lv_attr,lv_size,segtype,seg_pe_ranges\n");
    if (!result.child.succeeded())
        throw Failure(proto::CORRUPT, "cannot look at the volume groups: " + result.child.describe("lvm"));
    return parse_groups(result.output, members);
}

}  // namespace inspect::agent
