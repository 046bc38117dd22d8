// SPDX-License-Identifier: GPL-2.0-or-later
#include "cli/disk_picture.h"

#include <algorithm>
#include <functional>
#include <map>
#include <vector>

#include "cli/text.h"

namespace inspect::cli {
namespace {

struct Block {
    uint64_t start;
    uint64_t end;
    std::string label;  // empty: nothing is there
};

std::string short_name(const std::string& device) {
    return escape_message(device.substr(device.rfind('/') + 1));
}

std::vector<Block> blocks_of(const DiskState& disk) {
    std::vector<Block> used;
    if (disk.table == TableKind::kNone)
        used.push_back({0, disk.size, short_name(disk.device) + " " + escape_message(disk.whole.type)});
    for (const DiskPartition& partition : disk.partitions) {
        // A table can tell of what isn't there.
        if (partition.extended || partition.start >= disk.size) continue;
        std::string label = short_name(partition.device);
        if (!partition.content.type.empty()) label += " " + escape_message(partition.content.type);
        used.push_back({partition.start, std::min(partition.end(), disk.size), label});
    }
    std::sort(used.begin(), used.end(), [](const Block& a, const Block& b) { return a.start < b.start; });
    // Gaps that are only there for alignment and tables are not worth a mark.
    constexpr uint64_t kLeastGap = 2 << 20;
    std::vector<Block> all;
    uint64_t at = 0;
    for (Block& block : used) {
        if (block.start > at + kLeastGap) all.push_back({at, block.start, ""});
        at = std::max(at, block.end);
        all.push_back(std::move(block));
    }
    if (disk.size > at + kLeastGap) all.push_back({at, disk.size, ""});
    return all;
}

std::string_view kind_name(ResizeStep::Kind kind) {
    switch (kind) {
        case ResizeStep::Kind::kCheck:
            return "check";
        case ResizeStep::Kind::kImage:
            return "image";
        case ResizeStep::Kind::kTable:
            return "partition-table";
        case ResizeStep::Kind::kFilesystem:
            return "filesystem";
        case ResizeStep::Kind::kRecreate:
            return "recreate";
        case ResizeStep::Kind::kSwap:
            return "swap";
        case ResizeStep::Kind::kLuks:
            return "luks";
        case ResizeStep::Kind::kMoveExtents:
            return "move-extents";
        case ResizeStep::Kind::kPhysicalVolume:
            return "physical-volume";
        case ResizeStep::Kind::kLogicalVolume:
            return "logical-volume";
    }
    return "";
}

// Sizes by device and what is meant: "/dev/sda2" the partition, "/dev/sda2 ext4" its content.
void collect_content(
    const DiskContent& content, const std::string& indent,
    const std::function<void(const std::string&, const std::string&, const std::string&, uint64_t)>& add) {
    if (content.type.empty()) return;
    add(content.device + " " + content.type, indent + "  ", escape_message(content.type), content.size_bytes);
    for (const DiskContent& inner : content.inner) collect_content(inner, indent + "  ", add);
}

void collect(
    const DiskState& disk,
    const std::function<void(const std::string&, const std::string&, const std::string&, uint64_t)>& add) {
    add(disk.device, "", disk.format, disk.size);
    if (disk.table == TableKind::kNone) collect_content(disk.whole, "", add);
    for (const DiskPartition& partition : disk.partitions) {
        add(partition.device, "  ", partition.extended ? "extended partition" : "partition", partition.size);
        if (!partition.extended) collect_content(partition.content, "  ", add);
    }
    for (const VolumeGroup& group : disk.volume_groups) {
        for (const LogicalVolume& volume : group.logical_volumes) {
            add(volume.device, "  ", "logical volume", volume.size);
            collect_content(volume.content, "  ", add);
        }
    }
}

void write_content(JsonWriter& json, const DiskContent& content) {
    json.text("device", content.device);
    json.optional_text("type", content.type);
    json.optional_text("label", content.label);
    json.optional_text("uuid", content.uuid);
    json.number("size_bytes", content.size_bytes);
    if (content.minimum_bytes) json.number("minimum_bytes", *content.minimum_bytes);
    if (content.used_bytes) json.number("used_bytes", *content.used_bytes);
    json.optional_text("obstacle", content.obstacle);
    json.optional_text("volume_group", content.volume_group);
    for (const DiskContent& inner : content.inner) {
        json.begin_object("inner");
        write_content(json, inner);
        json.end_object();
    }
}

}  // namespace

std::string disk_picture(const DiskState& disk, uint64_t full_size, size_t columns) {
    std::string line = "+";
    std::string middle = "|";
    constexpr size_t kLeast = 3;
    for (const Block& block : blocks_of(disk)) {
        const double share = static_cast<double>(block.end - block.start) / static_cast<double>(full_size);
        const size_t width = std::max(kLeast, static_cast<size_t>(share * static_cast<double>(columns)));
        std::string label =
            block.label.substr(0, std::max(width, std::min<size_t>(block.label.find(' '), 8)));
        const size_t room = std::max(width, label.size());
        label.resize(room, ' ');
        middle += label + "|";
        line += std::string(room, block.label.empty() ? '.' : '-') + "+";
    }
    return line + "\n" + middle + "\n" + line + "\n";
}

std::string size_table(const ResizePlan& plan) {
    std::map<std::string, uint64_t> after;
    collect(plan.after, [&](const std::string& key, const std::string&, const std::string&, uint64_t size) {
        after[key] = size;
    });
    std::vector<std::vector<std::string>> rows;
    collect(plan.before,
            [&](const std::string& key, const std::string& indent, const std::string& what, uint64_t size) {
                const auto found = after.find(key);
                std::string change = human_size(size);
                if (found == after.end()) {
                    change += " -> gone";
                } else if (found->second != size) {
                    change += " -> " + human_size(found->second);
                }
                const bool content = key.find(' ') != key.npos;
                rows.push_back({indent + (content ? "" : escape_message(key)) + (content ? what : ""),
                                content ? "" : what, change});
            });
    return table(rows, {false, false, false});
}

void write_disk(JsonWriter& json, std::string_view key, const DiskState& disk) {
    json.begin_object(key);
    json.text("device", disk.device);
    json.text("format", disk.format);
    json.number("size_bytes", disk.size);
    json.number("sector_size", disk.sector_size);
    if (disk.table != TableKind::kNone)
        json.text("partition_table", disk.table == TableKind::kGpt ? "gpt" : "dos");
    json.optional_text("table_obstacle", disk.table_obstacle);
    json.begin_array("partitions");
    for (const DiskPartition& partition : disk.partitions) {
        json.begin_object();
        json.text("device", partition.device);
        json.number("number", partition.number);
        json.number("start_bytes", partition.start);
        json.number("size_bytes", partition.size);
        json.text("type", partition.type);
        json.optional_text("uuid", partition.uuid);
        json.optional_text("name", partition.name);
        json.number("attributes", partition.attributes);
        json.boolean("extended", partition.extended);
        json.boolean("logical", partition.logical);
        json.begin_object("content");
        write_content(json, partition.content);
        json.end_object();
        json.end_object();
    }
    json.end_array();
    if (disk.table == TableKind::kNone) {
        json.begin_object("content");
        write_content(json, disk.whole);
        json.end_object();
    }
    json.begin_array("volume_groups");
    for (const VolumeGroup& group : disk.volume_groups) {
        json.begin_object();
        json.text("name", group.name);
        json.number("extent_bytes", group.extent_bytes);
        json.begin_array("logical_volumes");
        for (const LogicalVolume& volume : group.logical_volumes) {
            json.begin_object();
            json.text("device", volume.device);
            json.text("kind", volume.kind);
            json.number("size_bytes", volume.size);
            json.begin_object("content");
            write_content(json, volume.content);
            json.end_object();
            json.end_object();
        }
        json.end_array();
        json.end_object();
    }
    json.end_array();
    json.end_object();
}

void write_steps(JsonWriter& json, const ResizePlan& plan) {
    json.begin_array("steps");
    for (const ResizeStep& step : plan.steps) {
        json.begin_object();
        json.text("kind", kind_name(step.kind));
        json.text("device", step.device);
        json.optional_text("type", step.type);
        if (step.old_size != step.new_size) {
            json.number("old_size_bytes", step.old_size);
            json.number("new_size_bytes", step.new_size);
        }
        json.text("text", describe(step));
        json.end_object();
    }
    json.end_array();
    json.begin_array("notes");
    for (const std::string& note : plan.notes) json.text("", note);
    json.end_array();
}

}  // namespace inspect::cli
