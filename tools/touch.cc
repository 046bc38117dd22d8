// SPDX-License-Identifier: GPL-2.0-or-later
//
// insp touch: time stamps of the guest's files.
#include "cli/guest.h"
#include "cli/text.h"
#include "commands.h"

namespace inspect::cli {
namespace {

// -a and -m are the disk and the mount in every command, -d is kept for libvirt's domains.
constexpr Option kTouchOwnOptions[] = {
    {'c', "no-create", Takes::kNothing, "", "don't make a file that isn't there"},
    {0, "time", Takes::kValue, "WORD", "change only 'atime' (access) or 'mtime' (modify)", "",
     "atime access use mtime modify"},
    {0, "date", Takes::kValue, "TIME", "this time: @SECONDS or YYYY-MM-DD[ HH:MM[:SS]][ZONE]"},
};

int run_touch(Context& context) {
    TouchOptions options;
    options.no_create = context.args.has("no-create");
    for (const std::string& word : context.args.values("time")) {
        if (word == "atime" || word == "access" || word == "use") {
            options.access = true;
        } else if (word == "mtime" || word == "modify") {
            options.modification = true;
        } else {
            throw UsageError("--time is 'atime' or 'mtime', not '" + word + "'");
        }
    }
    if (std::optional<std::string> date = context.args.value("date")) {
        options.time_ns = parse_time(*date);
        if (!options.time_ns)
            throw UsageError("--date '" + *date +
                             "' is not understood: write @SECONDS or YYYY-MM-DD[ HH:MM[:SS]][Z|+HH:MM]");
    }
    Guest guest(context, Access::kChange);
    guest.mount();
    for (const std::string& path : context.args.operands()) guest.call("touch", {path}).touch(path, options);
    guest.commit();
    return kExitSuccess;
}

}  // namespace

constexpr Command kTouchCommand = {
    .name = "touch",
    .summary = "set time stamps of the guest's files, or make empty ones",
    .operands = "PATH...",
    .description = "Sets the access and modification times to now; makes a file that isn't there.",
    .examples =
        "insp touch -a disk.img /.autorelabel\n"
        "insp touch -a disk.img --date 2024-02-29T12:00:00Z --time mtime /srv/data",
    .options = kTouchOwnOptions,
    .shared_options = kDiskOptions | kMountOptions,
    .min_operands = 1,
    .run = run_touch,
};

}  // namespace inspect::cli
