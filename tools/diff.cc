// SPDX-License-Identifier: GPL-2.0-or-later
//
// insp diff: what differs between the files of two guests, as virt-diff shows it.
#include "cli/guest.h"
#include "cli/tree_diff.h"
#include "commands.h"

namespace inspect::cli {
namespace {

constexpr Option kDiffOwnOptions[] = {
    {'A', kSecondGuest, Takes::kValue, "IMAGE", "a disk image of the second guest", "", "<file>"},
    {'h', "human-readable", Takes::kNothing, "", "sizes as 1.5K, 3.2G"},
    {0, "times", Takes::kNothing, "", "times of modification and change count as well, and are shown"},
    {0, "uids", Takes::kNothing, "", "show owners and groups", "uid"},
    {0, "csv", Takes::kNothing, "", "comma-separated values"},
};

int run_diff(Context& context) {
    const Arguments& args = context.args;
    TreeDiffOptions options;
    options.times = options.format.times = args.has("times");
    options.format.human = args.has("human-readable");
    options.format.uids = args.has("uids");
    options.format.csv = args.has("csv");
    if (options.format.csv && args.has("json")) throw UsageError("--csv and --json can't be used together");
    const std::vector<DiskSpec> before = disk_specs(args), after = second_disk_specs(args);
    if (after.empty())
        throw UsageError("no image of the second guest was given; write: insp diff -a IMAGE -A IMAGE");
    return diff_guests(context, before, after, options);
}

}  // namespace

constexpr Command kDiffCommand = {
    .name = "diff",
    .summary = "show what differs between the files of two guests",
    .operands = "",
    .description =
        "Compares the trees of the guest on -a and the one on -A, by names, types, permissions,\n"
        "owners and sizes, and prints what was removed (-), added (+) or changed.",
    .examples =
        "insp diff -a before.qcow2 -A after.qcow2\n"
        "insp diff --times -a backup:/srv/backups:latest -A vm.img",
    .options = kDiffOwnOptions,
    .shared_options = kDiskOptions | kMountOptions | kJsonOption,
    .max_operands = 0,
    .run = run_diff,
};

}  // namespace inspect::cli
