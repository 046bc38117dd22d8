// SPDX-License-Identifier: GPL-2.0-or-later
//
// insp copy-in: files and trees from the host into the guest.
#include <sys/stat.h>

#include <cerrno>

#include "cli/guest.h"
#include "cli/progress.h"
#include "commands.h"

namespace inspect::cli {
namespace {

constexpr Option kCopyInOwnOptions[] = {
    {0, "no-xattrs", Takes::kNothing, "", "don't copy extended attributes and ACLs"},
};

int run_copy_in(Context& context) {
    std::vector<std::string> paths = context.args.operands();
    std::string destination = paths.back();
    paths.pop_back();
    // Found out now rather than in the middle.
    for (const std::string& path : paths) {
        struct stat status = {};
        if (lstat(path.c_str(), &status) != 0) throw Error::from_errno("cannot copy '" + path + "'", errno);
    }
    Progress progress(!context.quiet());
    CopyOptions options;
    options.preserve_xattrs = !context.args.has("no-xattrs");
    options.on_entry = [&](const std::string& path) { progress.step(path); };
    options.on_warning = [&](const std::string& message) {
        progress.wipe();
        context.warning(message);
    };
    Guest guest(context, Access::kChange);
    guest.mount();
    for (const std::string& path : paths)
        guest.call("copy_in", {path, destination}).copy_in(path, destination, options);
    progress.wipe();
    guest.commit();
    return kExitSuccess;
}

}  // namespace

constexpr Command kCopyInCommand = {
    .name = "copy-in",
    .summary = "copy files and directories into the guest",
    .operands = "HOST-PATH... DIRECTORY",
    .description =
        "Copies files and directories of the host, with all that is in them, into a directory of\n"
        "the guest, with their owners, permissions, times, links and holes. All of them or none.",
    .examples = "insp copy-in -a disk.img ./site.conf ./certs /etc/nginx",
    .options = kCopyInOwnOptions,
    .shared_options = kDiskOptions | kMountOptions,
    .min_operands = 2,
    .host_operands = HostOperands::kAllButLast,
    .run = run_copy_in,
};

}  // namespace inspect::cli
