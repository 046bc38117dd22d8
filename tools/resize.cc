// SPDX-License-Identifier: GPL-2.0-or-later
//
// insp resize: a disk in place, with all that is in it.
#include <sys/stat.h>

#include <algorithm>
#include <optional>

#include <inspect/image.h>
#include <inspect/resize.h>

#include "cli/disk_picture.h"
#include "cli/guest.h"
#include "cli/progress.h"
#include "cli/text.h"
#include "cli/values.h"
#include "commands.h"

namespace inspect::cli {
namespace {

constexpr Option kResizeOwnOptions[] = {
    {0, "size", Takes::kValue, "[+|-]SIZE", "the image's new size, or by how much it changes"},
    {0, "expand", Takes::kValue, "PART", "a partition (or logical volume) takes all room that there is"},
    {0, "shrink", Takes::kValue, "PART", "one that becomes as small as the image's new size wants"},
    {0, "resize", Takes::kValue, "PART=SIZE", "one that gets this size, or +SIZE, -10%..."},
    {0, "LV-expand", Takes::kValue, "LV", "a logical volume takes all room in its group", "lv-expand"},
    {0, "delete", Takes::kValue, "PART", "a partition that is removed first"},
    {0, "no-follow", Takes::kNothing, "", "with --size alone: only the image and its table change"},
    {0, "no-expand-content", Takes::kNothing, "", "what is in a growing partition stays as it is"},
    {0, "ntfsresize-force", Takes::kNothing, "", "NTFS may be marked to be checked"},
    {0, "recreate", Takes::kNothing, "", "an XFS that is to shrink is made anew, with what is in it"},
    {0, "output", Takes::kValue, "NEW", "resize a copy, which appears under this name", "", "<file>"},
    {'n', "dry-run", Takes::kNothing, "", "show what would be done, and do nothing"},
};

constexpr size_t kPictureColumns = 70;

SizeChange size_change(const std::string& text) {
    return as_usage([&] { return SizeChange::parse(text); });
}

ResizeWishes wishes_of(const Arguments& args) {
    ResizeWishes wishes;
    if (auto size = args.value("size")) wishes.size = size_change(*size);
    wishes.expand = args.values("expand");
    wishes.shrink = args.values("shrink");
    for (const std::string& text : args.values("resize")) {
        const size_t equals = text.rfind('=');
        if (equals == text.npos)
            throw UsageError("--resize '" + text +
                             "' has no size: write it as /dev/sda2=20G or /dev/sda2=+10%");
        wishes.resize.push_back({text.substr(0, equals), size_change(text.substr(equals + 1))});
    }
    wishes.expand_volumes = args.values("LV-expand");
    wishes.remove = args.values("delete");
    wishes.follow = !args.has("no-follow");
    wishes.contents = !args.has("no-expand-content");
    wishes.recreate = args.has("recreate");
    wishes.ntfs_force = args.has("ntfsresize-force");
    if (!wishes.size && wishes.expand.empty() && wishes.resize.empty() && wishes.expand_volumes.empty() &&
        wishes.remove.empty() && wishes.shrink.empty())
        throw UsageError(
            "nothing was said of sizes: give --size, --expand, --shrink, --resize, --LV-expand or --delete");
    return wishes;
}

void show(Context& context, const ResizePlan& plan) {
    const uint64_t full = std::max(plan.before.size, plan.after.size);
    context.out.write("before: " + human_size(plan.before.size) + "\n");
    context.out.write(disk_picture(plan.before, full, kPictureColumns));
    context.out.write("after: " + human_size(plan.after.size) + "\n");
    context.out.write(disk_picture(plan.after, full, kPictureColumns) + "\n");
    context.out.write(size_table(plan) + "\n");
    for (const ResizeStep& step : plan.steps) context.out.write(escape_message(describe(step)) + "\n");
    if (plan.steps.empty()) context.out.write("nothing is to be done\n");
}

// Makes a copy what is resized.
void resize_copy(SessionOptions& options, NewImage& copy, bool shown) {
    Progress progress(shown);
    copy.copy(options.disks.at(0), [&](uint64_t done, uint64_t size) {
        check_interrupted();
        progress.show("copied " + human_size(done) + " of " + human_size(size));
    });
    options.disks[0].path = copy.path();
}

// Whether the image could be written directly instead.
bool can_be_direct(const Arguments& args) {
    if (args.value("write-mode").value_or("atomic") != "atomic" || args.has("recreate")) return false;
    const std::vector<DiskSpec> disks = disk_specs(args);
    struct stat status {};
    return std::all_of(disks.begin() + 1, disks.end(), [](const DiskSpec& disk) { return disk.read_only; }) &&
           ::stat(disks[0].path.c_str(), &status) == 0 && S_ISREG(status.st_mode);
}

void commit(Context& context, Guest& guest) {
    try {
        guest.commit();
    } catch (const Error& error) {
        if (error.kind() != ErrorKind::kNoSpace || !can_be_direct(context.args)) throw;
        throw Error(error.kind(), error.message() + "; with --write-mode=direct less room is needed");
    }
}

int run_resize(Context& context) {
    const ResizeWishes wishes = wishes_of(context.args);
    const bool dry_run = context.args.has("dry-run");
    const bool shown = !context.wants_json() && !context.quiet();
    std::optional<NewImage> copy;
    if (context.args.has("output") && !dry_run) copy.emplace(*context.args.value("output"));
    Guest guest(context, dry_run ? Access::kRead : Access::kChange, [&](SessionOptions& options) {
        if (copy) resize_copy(options, *copy, shown);
        // The guest's other disks, which may have parts of its volume groups, aren't copied.
        if (!context.args.has("output")) return;
        for (size_t i = 1; i < options.disks.size(); ++i) options.disks[i].read_only = true;
    });
    const ResizePlan plan = guest.call("plan_resize").plan_resize(wishes);
    for (const std::string& note : plan.notes) context.warning(note);
    if (dry_run && !context.wants_json()) show(context, plan);
    if (!dry_run && !plan.steps.empty()) {
        guest.call("resize").resize(plan, [&](const ResizeStep& step) { context.note(describe(step)); });
        commit(context, guest);
    }
    if (copy) copy->publish();
    if (context.wants_json()) {
        context.json.begin_object();
        context.json.boolean("dry_run", dry_run);
        write_disk(context.json, "before", plan.before);
        write_disk(context.json, "after", plan.after);
        write_steps(context.json, plan);
        context.json.end_object();
    } else if (!dry_run && shown) {
        for (const ResizeStep& step : plan.steps) context.out.write(escape_message(describe(step)) + "\n");
        if (plan.steps.empty()) context.out.write("everything has the size that it is to have\n");
    }
    context.out.flush();
    return kExitSuccess;
}

}  // namespace

constexpr Command kResizeCommand = {
    .name = "resize",
    .summary = "grow or shrink a disk with the partitions and file systems on it",
    .operands = "",
    .description =
        "Resizes the image in place: partitions keep their number, start and identifiers, so\n"
        "that the guest boots afterwards. What is in them (LUKS, LVM, file systems) follows.\n"
        "All of it is done completely or not at all.",
    .examples =
        "insp resize -a disk.qcow2 --size +10G\n"
        "insp resize -a disk.qcow2 --size 20G --expand /dev/sda1 --dry-run\n"
        "insp resize -a disk.img --size -5G --shrink /dev/sda2\n"
        "insp resize -a disk.img --resize /dev/vg/home=-2G --LV-expand /dev/vg/root",
    .options = kResizeOwnOptions,
    .shared_options = kDiskOptions | kJsonOption,
    .max_operands = 0,
    .run = run_resize,
};

}  // namespace inspect::cli
