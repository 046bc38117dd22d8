// SPDX-License-Identifier: GPL-2.0-or-later
//
// insp filesystems: what the disks hold.
#include "cli/filesystem_rows.h"
#include "cli/guest.h"
#include "commands.h"

namespace inspect::cli {
namespace {

constexpr Option kFilesystemsOwnOptions[] = {
    {'l', "long", Takes::kNothing, "", "with type, label and size"},
    {'h', "human-readable", Takes::kNothing, "", "sizes as 1.5K, 3.2G"},
    {0, "uuid", Takes::kNothing, "", "with -l: UUIDs", "uuids"},
    {0, "filesystems", Takes::kNothing, "", "mountable file systems; so without any such option"},
    {0, "extra", Takes::kNothing, "", "and swap, unknown and unmountable ones"},
    {0, "partitions", Takes::kNothing, "", "partitions", "parts"},
    {0, "block-devices", Takes::kNothing, "", "disks and RAID arrays", "blkdevs"},
    {0, "logical-volumes", Takes::kNothing, "", "logical volumes of LVM", "lvs"},
    {0, "volume-groups", Takes::kNothing, "", "volume groups of LVM", "vgs"},
    {0, "physical-volumes", Takes::kNothing, "", "physical volumes of LVM", "pvs"},
    {0, "all", Takes::kNothing, "", "all of these"},
    {0, "csv", Takes::kNothing, "", "comma-separated values"},
    {0, "no-title", Takes::kNothing, "", "with -l: no title row"},
};

RowSelection selection_of(const Arguments& args) {
    bool all = args.has("all");
    RowSelection selection;
    selection.extra = all || args.has("extra");
    selection.partitions = all || args.has("partitions");
    selection.block_devices = all || args.has("block-devices");
    selection.logical_volumes = all || args.has("logical-volumes");
    selection.volume_groups = all || args.has("volume-groups");
    selection.physical_volumes = all || args.has("physical-volumes");
    selection.filesystems =
        all || args.has("filesystems") || selection.extra ||
        (!selection.partitions && !selection.block_devices && !selection.logical_volumes &&
         !selection.volume_groups && !selection.physical_volumes);
    return selection;
}

int run_filesystems(Context& context) {
    const Arguments& args = context.args;
    RowFormat format = {.long_format = args.has("long"),
                        .human = args.has("human-readable"),
                        .csv = args.has("csv"),
                        .uuid = args.has("uuid"),
                        .title = !args.has("no-title"),
                        .mbr = args.has("partitions") || args.has("all")};
    if (format.csv && format.human) throw UsageError("--csv and -h can't be used together");
    if (format.csv && context.wants_json()) throw UsageError("--csv and --json can't be used together");
    Guest guest(context, Access::kRead);
    FilesystemReport report = guest.call("filesystems").filesystems();
    for (const std::string& warning : report.warnings) context.warning(warning);
    std::vector<FilesystemRow> rows = filesystem_rows(report, selection_of(args));
    if (context.wants_json()) {
        context.json.begin_object();
        write_report(context.json, report);
        context.json.end_object();
    } else if (!rows.empty()) {
        context.out.write(format_rows(rows, format));
    }
    context.out.flush();
    if (!rows.empty()) return kExitSuccess;
    context.error("nothing of that kind was found on the disks");
    return kExitNothingFound;
}

}  // namespace

constexpr Command kFilesystemsCommand = {
    .name = "filesystems",
    .summary = "list file systems, volumes, partitions and disks",
    .operands = "",
    .description =
        "Lists the devices that hold a mountable file system, or what the options ask for.\n"
        "Exit code 3 when there is none. --json always has everything.",
    .examples =
        "insp filesystems -a disk.img -lh\n"
        "insp filesystems -a disk.img --all --long --uuid -h\n"
        "insp filesystems -a disk.img --json | jq -r '.filesystems[].uuid'",
    .options = kFilesystemsOwnOptions,
    .shared_options = kDiskOptions | kJsonOption,
    .max_operands = 0,
    .run = run_filesystems,
};

}  // namespace inspect::cli
