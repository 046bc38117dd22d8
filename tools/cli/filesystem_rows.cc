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
    if (selection.block_devices) {
        for (const DiskInfo& disk : report.disks)
            rows.push_back({.name = disk.device,
                            .type = "device",
                            .vfs = {},
                            .label = {},
                            .mbr = {},
                            .size_bytes = disk.size_bytes,
                            .parent = {},
                            .uuid = {}});
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
        cells.back().push_back(format.human ? human_size(row.size_bytes) : std::to_string(row.size_bytes));
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
        if (fs.partition_number == 0) return;
        json.begin_object("partition");
        json.text("parent", parent_device(report, fs.device));
        json.number("number", fs.partition_number);
        json.optional_text("uuid", fs.partition_uuid);
        json.optional_text("label", fs.partition_label);
        json.optional_text("type", fs.partition_type);
        json.end_object();
    });
    json.texts("warnings", report.warnings);
}

}  // namespace inspect::cli
