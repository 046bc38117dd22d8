// SPDX-License-Identifier: GPL-2.0-or-later
#include "cli/filesystem_rows.h"

#include "cli/text.h"

namespace inspect::cli {

std::string parent_device(const FilesystemReport& report, const std::string& partition) {
    // Disks are named by letters and partitions by numbers, so the longest disk's name is the right one.
    std::string parent;
    for (const DiskInfo& disk : report.disks)
        if (partition.starts_with(disk.device) && disk.device.size() > parent.size()) parent = disk.device;
    return parent;
}

namespace {

std::string joined(const std::vector<std::string>& devices) {
    std::string text;
    for (const std::string& device : devices) text += (text.empty() ? "" : ",") + device;
    return text;
}

std::string parent_of(const FilesystemReport& report, const FilesystemInfo& fs) {
    if (!fs.parts.empty()) return joined(fs.parts);
    return fs.partition_number != 0 ? parent_device(report, fs.device) : std::string();
}

}  // namespace

std::vector<FilesystemRow> filesystem_rows(const FilesystemReport& report, const RowSelection& selection) {
    std::vector<FilesystemRow> rows;
    if (selection.filesystems || selection.extra) {
        for (const FilesystemInfo& fs : report.filesystems) {
            if (!(fs.mountable ? selection.filesystems : selection.extra)) continue;
            rows.push_back({.name = fs.device,
                            .type = "filesystem",
                            .vfs = fs.type.empty() ? "unknown" : fs.type,
                            .label = fs.label,
                            .mbr = {},
                            .size_bytes = fs.size_bytes,
                            .parent = {},
                            .uuid = fs.uuid});
        }
    }
    if (selection.partitions) {
        for (const FilesystemInfo& fs : report.filesystems) {
            if (fs.partition_number == 0) continue;
            std::string mbr;
            if (fs.partition_type.starts_with("0x")) {
                if (fs.partition_type.size() == 3) mbr += '0';
                mbr += fs.partition_type.substr(2);
            }
            rows.push_back({.name = fs.device,
                            .type = "partition",
                            .vfs = {},
                            .label = fs.partition_label,
                            .mbr = mbr,
                            .size_bytes = fs.size_bytes,
                            .parent = parent_device(report, fs.device),
                            .uuid = fs.partition_uuid});
        }
    }
    auto add = [&](std::string name, std::string type, uint64_t size, std::string parent, std::string uuid) {
        rows.push_back({.name = std::move(name),
                        .type = std::move(type),
                        .vfs = {},
                        .label = {},
                        .mbr = {},
                        .size_bytes = size,
                        .parent = std::move(parent),
                        .uuid = std::move(uuid)});
    };
    // As virt-filesystems has them, a volume group's parents are its physical volumes.
    if (selection.physical_volumes) {
        for (const VolumeGroupInfo& group : report.volume_groups) {
            for (const std::string& device : group.physical_volumes) {
                for (const FilesystemInfo& fs : report.filesystems) {
                    if (fs.device == device) add(device, "pv", fs.size_bytes, parent_of(report, fs), fs.uuid);
                }
            }
        }
    }
    if (selection.volume_groups) {
        for (const VolumeGroupInfo& group : report.volume_groups)
            add("/dev/" + group.name, "vg", group.size_bytes, joined(group.physical_volumes), group.uuid);
    }
    if (selection.logical_volumes) {
        for (const FilesystemInfo& fs : report.filesystems) {
            if (fs.kind == "lv") add(fs.device, "lv", fs.size_bytes, "/dev/" + fs.group, fs.volume_uuid);
        }
    }
    if (selection.block_devices) {
        for (const DiskInfo& disk : report.disks) add(disk.device, "device", disk.size_bytes, {}, {});
        for (const FilesystemInfo& fs : report.filesystems) {
            if (fs.kind == "md") add(fs.device, "device", fs.size_bytes, joined(fs.parts), fs.volume_uuid);
        }
    }
    return rows;
}

std::string format_rows(const std::vector<FilesystemRow>& rows, const RowFormat& format) {
    std::vector<std::vector<std::string>> cells;
    if (format.long_format && format.title) {
        cells.push_back({"Name", "Type", "VFS", "Label"});
        if (format.mbr) cells.back().emplace_back("MBR");
        cells.back().insert(cells.back().end(), {"Size", "Parent"});
        if (format.uuid) cells.back().emplace_back("UUID");
    }
    for (const FilesystemRow& row : rows) {
        // In columns for people an empty cell would be overlooked.
        auto cell = [&](const std::string& text) {
            if (format.csv) return csv_field(text);
            return text.empty() ? std::string("-") : escape_control(text);
        };
        cells.push_back({cell(row.name)});
        if (!format.long_format) continue;
        cells.back().insert(cells.back().end(), {cell(row.type), cell(row.vfs), cell(row.label)});
        if (format.mbr) cells.back().push_back(cell(row.mbr));
        const bool sizeless = row.type == "filesystem" && row.size_bytes == 0;  // a subvolume
        cells.back().push_back(sizeless       ? cell({})
                               : format.human ? human_size(row.size_bytes)
                                              : std::to_string(row.size_bytes));
        cells.back().push_back(cell(row.parent));
        if (format.uuid) cells.back().push_back(cell(row.uuid));
    }
    if (!format.csv) {
        size_t size_column = format.mbr ? 5 : 4;
        std::vector<bool> right(size_column + 1, false);
        right[size_column] = true;
        return table(cells, right);
    }
    std::string out;
    for (const auto& row : cells) {
        for (size_t i = 0; i < row.size(); ++i) out += (i == 0 ? "" : ",") + row[i];
        out += '\n';
    }
    return out;
}

void write_report(JsonWriter& json, const FilesystemReport& report) {
    json.objects("disks", report.disks, [&](const DiskInfo& disk) {
        json.text("device", disk.device);
        json.number("size_bytes", disk.size_bytes);
        json.number("sector_size", disk.sector_size);
        json.optional_text("partition_table", disk.partition_table);
    });
    json.objects("filesystems", report.filesystems, [&](const FilesystemInfo& fs) {
        json.text("device", fs.device);
        json.optional_text("type", fs.type);
        json.optional_text("label", fs.label);
        json.optional_text("uuid", fs.uuid);
        json.number("size_bytes", fs.size_bytes);
        json.boolean("mountable", fs.mountable);
        json.boolean("whole_disk", fs.whole_disk);
        if (!fs.kind.empty()) {
            json.begin_object("volume");
            json.text("kind", fs.kind);
            json.optional_text("group", fs.group);
            json.optional_text("uuid", fs.volume_uuid);
            json.boolean("degraded", fs.degraded);
            json.texts("parents", fs.parts);
            json.end_object();
        }
        if (fs.partition_number == 0) return;
        json.begin_object("partition");
        json.text("parent", parent_device(report, fs.device));
        json.number("number", fs.partition_number);
        json.optional_text("uuid", fs.partition_uuid);
        json.optional_text("label", fs.partition_label);
        json.optional_text("type", fs.partition_type);
        json.end_object();
    });
    json.objects("volume_groups", report.volume_groups, [&](const VolumeGroupInfo& group) {
        json.text("name", group.name);
        json.text("uuid", group.uuid);
        json.number("size_bytes", group.size_bytes);
        json.number("free_bytes", group.free_bytes);
        json.texts("physical_volumes", group.physical_volumes);
    });
    json.texts("warnings", report.warnings);
}

}  // namespace inspect::cli
