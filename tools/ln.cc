// SPDX-License-Identifier: GPL-2.0-or-later
//
// insp ln: hard and symbolic links in the guest.
#include "cli/guest.h"
#include "cli/guest_path.h"
#include "commands.h"

namespace inspect::cli {
namespace {

constexpr Option kLnOwnOptions[] = {
    {'s', "symbolic", Takes::kNothing, "", "a symbolic link; TARGET is taken as it is"},
    {'f', "force", Takes::kNothing, "", "replace LINK where it exists"},
    {'T', "no-target-directory", Takes::kNothing, "",
     "LINK is the link's name itself, not a directory for it"},
};

int run_ln(Context& context) {
    const std::string& target = context.args.operands()[0];
    std::string path = context.args.operands()[1];
    bool symbolic = context.args.has("symbolic");
    bool force = context.args.has("force");
    Guest guest(context, Access::kChange);
    guest.mount();
    if (!context.args.has("no-target-directory") && guest.is_directory(path))
        path = join_path(path, base_name(target));
    guest.call("link", {target, path}).link(target, path, symbolic, force);
    guest.commit();
    return kExitSuccess;
}

}  // namespace

constexpr Command kLnCommand = {
    .name = "ln",
    .summary = "make links in the guest",
    .operands = "TARGET LINK",
    .description =
        "Makes LINK another name of TARGET, or with -s a symbolic link that says TARGET. Where\n"
        "LINK is a directory, the link is made in it.",
    .examples = "insp ln -a disk.img -sf /usr/share/zoneinfo/Europe/Berlin /etc/localtime",
    .options = kLnOwnOptions,
    .shared_options = kDiskOptions | kMountOptions,
    .min_operands = 2,
    .max_operands = 2,
    .run = run_ln,
};

}  // namespace inspect::cli
