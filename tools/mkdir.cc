// SPDX-License-Identifier: GPL-2.0-or-later
//
// insp mkdir: directories in the guest.
#include "cli/guest.h"
#include "cli/text.h"
#include "commands.h"

namespace inspect::cli {
namespace {

constexpr Option kMkdirOwnOptions[] = {
    {'p', "parents", Takes::kNothing, "", "make parents as needed; no error when it exists"},
    {0, "mode", Takes::kValue, "MODE", "permissions in octal (-m is --mount)"},
};

int run_mkdir(Context& context) {
    std::optional<uint32_t> mode;
    if (std::optional<std::string> text = context.args.value("mode")) {
        mode = parse_octal_mode(*text);
        if (!mode) throw UsageError("--mode '" + *text + "' is not an octal mode such as 0755");
    }
    bool parents = context.args.has("parents");
    Guest guest(context, Access::kChange);
    guest.mount();
    for (const std::string& path : context.args.operands())
        guest.call("make_directory", {path}).make_directory(path, parents, mode);
    guest.commit();
    return kExitSuccess;
}

}  // namespace

constexpr Command kMkdirCommand = {
    .name = "mkdir",
    .summary = "make directories in the guest",
    .operands = "DIRECTORY...",
    .description = "Makes the directories, all of them or none.",
    .examples =
        "insp mkdir -a disk.img -p /srv/data/incoming\n"
        "insp mkdir -a disk.img --mode 0700 /root/.ssh",
    .options = kMkdirOwnOptions,
    .shared_options = kDiskOptions | kMountOptions,
    .min_operands = 1,
    .run = run_mkdir,
};

}  // namespace inspect::cli
