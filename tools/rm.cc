// SPDX-License-Identifier: GPL-2.0-or-later
//
// insp rm: remove files and trees of the guest.
#include "cli/guest.h"
#include "commands.h"

namespace inspect::cli {
namespace {

constexpr Option kRmOwnOptions[] = {
    {'r', "recursive", Takes::kNothing, "", "remove directories and what is in them"},
    {'R', "", Takes::kNothing, "", "the same as -r"},
    {'f', "force", Takes::kNothing, "", "no error for what doesn't exist"},
};

int run_rm(Context& context) {
    bool recursive = context.args.has("recursive") || context.args.has("R");
    bool force = context.args.has("force");
    Guest guest(context, Access::kChange);
    guest.mount();
    for (const std::string& path : context.args.operands())
        guest.call("remove", {path}).remove(path, recursive, force);
    guest.commit();
    return kExitSuccess;
}

}  // namespace

constexpr Command kRmCommand = {
    .name = "rm",
    .summary = "remove files and directories of the guest",
    .operands = "PATH...",
    .description = "Removes the files, all of them or none.",
    .examples =
        "insp rm -a disk.img /etc/ssh/ssh_host_rsa_key\n"
        "insp rm -a disk.img -rf /var/cache/apt/archives",
    .options = kRmOwnOptions,
    .shared_options = kDiskOptions | kMountOptions,
    .min_operands = 1,
    .run = run_rm,
};

}  // namespace inspect::cli
