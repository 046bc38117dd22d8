// SPDX-License-Identifier: GPL-2.0-or-later
//
// insp umount: the end of insp mount.
#include <inspect/host_mount.h>

#include "cli/context.h"
#include "commands.h"

namespace inspect::cli {
namespace {

constexpr Option kUmountOwnOptions[] = {
    {'z', "lazy", Takes::kNothing, "", "also while it is in use: returns once the last user has gone"},
    {0, "wait", Takes::kNothing, "", "don't unmount: wait until somebody has, and for the images"},
};

int run_umount(Context& context) {
    UnmountOptions options;
    options.lazy = context.args.has("lazy");
    options.wait_only = context.args.has("wait");
    if (options.lazy && options.wait_only) throw UsageError("--lazy and --wait can't be used together");
    context.trace("unmount_from_host", "\"" + context.args.operands()[0] + "\"");
    bool changed = unmount_from_host(context.args.operands()[0], options);
    context.note(changed ? "the changes are in the images" : "nothing changed in the images");
    return kExitSuccess;
}

}  // namespace

constexpr Command kUmountCommand = {
    .name = "umount",
    .summary = "unmount a guest, and wait until its images have the changes",
    .operands = "DIRECTORY",
    .description =
        "Unmounts what 'insp mount' has mounted, and returns when the images are\n"
        "released and have the changes. The exit code tells whether they have. Also\n"
        "after 'fusermount3 -u': it waits for the changes then, or tells what has\n"
        "become of them.",
    .examples = "insp umount ./guest",
    .options = kUmountOwnOptions,
    .min_operands = 1,
    .max_operands = 1,
    .host_operands = HostOperands::kAll,
    .run = run_umount,
};

}  // namespace inspect::cli
