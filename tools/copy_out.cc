// SPDX-License-Identifier: GPL-2.0-or-later
//
// insp copy-out: files and trees from the guest to the host.
#include <sys/stat.h>

#include <cerrno>

#include "cli/guest.h"
#include "cli/progress.h"
#include "commands.h"

namespace inspect::cli {
namespace {

constexpr Option kCopyOutOwnOptions[] = {
    {0, "preserve-owner", Takes::kNothing, "", "keep owner and group by number (needs root)"},
    {0, "no-xattrs", Takes::kNothing, "", "don't copy extended attributes and ACLs"},
};

int run_copy_out(Context& context) {
    std::vector<std::string> paths = context.args.operands();
    std::string destination = paths.back();
    paths.pop_back();
    struct stat status = {};
    if (stat(destination.c_str(), &status) != 0)
        throw Error::from_errno("cannot copy to '" + destination + "'", errno);
    if (!S_ISDIR(status.st_mode))
        throw UsageError("cannot copy to '" + destination + "': it is not a directory");
    Progress progress(!context.quiet());
    CopyOptions options;
    options.preserve_owner = context.args.has("preserve-owner");
    options.preserve_xattrs = !context.args.has("no-xattrs");
    options.on_entry = [&](const std::string& path) { progress.step(path); };
    options.on_warning = [&](const std::string& message) {
        progress.wipe();
        context.warning(message);
    };
    Guest guest(context, Access::kRead);
    guest.mount();
    for (const std::string& path : paths)
        guest.call("copy_out", {path, destination}).copy_out(path, destination, options);
    return kExitSuccess;
}

}  // namespace

constexpr Command kCopyOutCommand = {
    .name = "copy-out",
    .summary = "copy files and directories out of the guest",
    .operands = "PATH... HOST-DIRECTORY",
    .description =
        "Copies the guest's files and directories, with all that is in them, into a directory of\n"
        "the host, with their permissions, times, links and holes.",
    .examples = "insp copy-out -a disk.img /etc /var/log ./evidence",
    .options = kCopyOutOwnOptions,
    .shared_options = kDiskOptions | kMountOptions,
    .min_operands = 2,
    .host_operands = HostOperands::kLast,
    .run = run_copy_out,
};

}  // namespace inspect::cli
