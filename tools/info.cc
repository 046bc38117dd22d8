// SPDX-License-Identifier: GPL-2.0-or-later
//
// insp info: the images themselves: format, sizes, what they stand on, snapshots, bitmaps; and a summary of
// what is on the disks.
#include <inspect/image.h>

#include "cli/filesystem_rows.h"
#include "cli/guest.h"
#include "cli/text.h"
#include "commands.h"

namespace inspect::cli {
namespace {

constexpr Option kInfoOwnOptions[] = {
    {0, "no-filesystems", Takes::kNothing, "", "only the images: no appliance is started"},
};

using Rows = std::vector<std::vector<std::string>>;

std::string size_text(uint64_t bytes) { return human_size(bytes) + " (" + std::to_string(bytes) + " bytes)"; }

std::string yes(bool value) { return value ? "yes" : "no"; }

void add_qcow2_rows(const ImageInfo& info, Rows& rows) {
    rows.push_back({"  Version", std::to_string(info.version)});
    rows.push_back({"  Cluster size", human_size(info.cluster_size)});
    rows.push_back({"  Refcount bits", std::to_string(info.refcount_bits)});
    rows.push_back({"  Compression", info.compression});
    if (info.extended_l2) rows.push_back({"  Subclusters", "yes"});
    if (info.lazy_refcounts) rows.push_back({"  Lazy refcounts", "yes"});
    rows.push_back({"  Dirty", yes(info.dirty)});
}

std::string as_text(const ImageInfo& info) {
    Rows rows;
    rows.push_back({"  Format", info.format + (info.format_was_detected ? " (detected)" : "")});
    if (info.encrypted) rows.push_back({"  Encrypted", "LUKS"});
    rows.push_back({"  Virtual size", size_text(info.virtual_size)});
    if (info.file_size > 0) rows.push_back({"  File size", size_text(info.file_size)});
    if (info.file_size > 0) rows.push_back({"  Allocated", size_text(info.allocated_size)});
    rows.push_back({"  Data", size_text(info.data_size)});
    if (!info.recovery.empty()) rows.push_back({"  Recovery", info.recovery});
    if (info.version != 0) add_qcow2_rows(info, rows);
    std::string out = escape_message(info.path) + "\n" + table(rows, {});
    auto section = [&out](const char* title, const Rows& lines) {
        if (!lines.empty()) out += std::string("  ") + title + "\n" + table(lines, {});
    };
    rows.clear();
    for (const ImageFileInfo& file : info.chain)
        rows.push_back({"    " + escape_message(file.path), file.format, human_size(file.virtual_size),
                        human_size(file.allocated_size)});
    section("Stands on", rows);
    rows.clear();
    for (const ImageSnapshot& snapshot : info.snapshots)
        rows.push_back({"    " + escape_message(snapshot.id), escape_message(snapshot.name),
                        local_time(snapshot.time_ns), human_size(snapshot.disk_size)});
    section("Snapshots", rows);
    rows.clear();
    for (const ImageBitmap& bitmap : info.bitmaps)
        rows.push_back({"    " + escape_message(bitmap.name), human_size(bitmap.granularity),
                        bitmap.usable ? "usable" : "not usable", bitmap.enabled ? "enabled" : "disabled"});
    section("Bitmaps", rows);
    return out;
}

std::string as_text(const FilesystemReport& report) {
    std::string out;
    for (const DiskInfo& disk : report.disks) {
        out += disk.device + "  " +
               (disk.partition_table.empty() ? "no partition table" : disk.partition_table) + "\n";
        Rows rows;
        for (const FilesystemInfo& fs : report.filesystems) {
            if (fs.device != disk.device && parent_device(report, fs.device) != disk.device) continue;
            auto cell = [](const std::string& text) { return text.empty() ? "-" : escape_message(text); };
            rows.push_back({"  " + fs.device, cell(fs.type), cell(fs.label),
                            fs.kind == "subvolume" ? "" : human_size(fs.size_bytes)});
        }
        out += table(rows, {false, false, false, true});
    }
    return out;
}

void write_members(JsonWriter& json, const ImageInfo& info) {
    json.text("path", info.path);
    json.text("format", info.format);
    json.boolean("format_was_detected", info.format_was_detected);
    json.boolean("encrypted", info.encrypted);
    json.number("virtual_size", info.virtual_size);
    json.number("file_size", info.file_size);
    json.number("allocated_size", info.allocated_size);
    json.number("data_size", info.data_size);
    json.optional_text("recovery", info.recovery);
    if (info.version != 0) {
        json.begin_object("qcow2");
        json.number("version", info.version);
        json.number("cluster_size", info.cluster_size);
        json.number("refcount_bits", info.refcount_bits);
        json.text("compression", info.compression);
        json.boolean("extended_l2", info.extended_l2);
        json.boolean("lazy_refcounts", info.lazy_refcounts);
        json.boolean("dirty", info.dirty);
        json.end_object();
    }
    json.objects("chain", info.chain, [&](const ImageFileInfo& file) {
        json.text("path", file.path);
        json.text("format", file.format);
        json.number("virtual_size", file.virtual_size);
        json.number("file_size", file.file_size);
        json.number("allocated_size", file.allocated_size);
    });
    json.objects("snapshots", info.snapshots, [&](const ImageSnapshot& snapshot) {
        json.text("id", snapshot.id);
        json.text("name", snapshot.name);
        json.text("time", utc_time(snapshot.time_ns));
        json.number("vm_clock_ns", snapshot.vm_clock_ns);
        json.number("vm_state_size", snapshot.vm_state_size);
        json.number("disk_size", snapshot.disk_size);
    });
    json.objects("bitmaps", info.bitmaps, [&](const ImageBitmap& bitmap) {
        json.text("name", bitmap.name);
        json.number("granularity", bitmap.granularity);
        json.boolean("enabled", bitmap.enabled);
        json.boolean("usable", bitmap.usable);
    });
}

int run_info(Context& context) {
    const Arguments& args = context.args;
    std::vector<ImageInfo> images;
    for (const DiskSpec& disk : session_options(args, Access::kRead).disks)
        images.push_back(image_info(disk));
    FilesystemReport report;
    if (!args.has("no-filesystems")) {
        Guest guest(context, Access::kRead);
        report = guest.call("filesystems").filesystems();
        for (const std::string& warning : report.warnings) context.warning(warning);
    }
    if (context.wants_json()) {
        context.json.begin_object();
        context.json.objects("images", images,
                             [&](const ImageInfo& info) { write_members(context.json, info); });
        if (!args.has("no-filesystems")) write_report(context.json, report);
        context.json.end_object();
    } else {
        for (const ImageInfo& info : images) context.out.write(as_text(info));
        context.out.write(as_text(report));
    }
    return kExitSuccess;
}

}  // namespace

constexpr Command kInfoCommand = {
    .name = "info",
    .summary = "show an image's format, sizes, chain, snapshots and bitmaps",
    .operands = "",
    .description =
        "Shows what the image files are and what they stand on, and a summary of what is on\n"
        "the disks.",
    .examples =
        "insp info -a disk.qcow2\n"
        "insp info --no-filesystems --json --format=qcow2 -a overlay.qcow2 | jq '.images[0].chain'",
    .options = kInfoOwnOptions,
    .shared_options = kDiskOptions | kJsonOption,
    .max_operands = 0,
    .run = run_info,
};

}  // namespace inspect::cli
