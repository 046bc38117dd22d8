// SPDX-License-Identifier: GPL-2.0-or-later
//
// insp chmod: permissions in the guest.
#include "cli/guest.h"
#include "commands.h"

namespace inspect::cli {
namespace {

constexpr Option kChmodOwnOptions[] = {
    {'R', "recursive", Takes::kNothing, "", "and all that is below; symlinks are not followed"},
};

int run_chmod(Context& context) {
    const std::vector<std::string>& operands = context.args.operands();
    bool recursive = context.args.has("recursive");
    Guest guest(context, Access::kChange);
    guest.mount();
    for (size_t i = 1; i < operands.size(); ++i)
        guest.call("chmod", {operands[i], operands[0]}).chmod(operands[i], operands[0], recursive);
    guest.commit();
    return kExitSuccess;
}

}  // namespace

constexpr Command kChmodCommand = {
    .name = "chmod",
    .summary = "change permissions of the guest's files",
    .operands = "MODE PATH...",
    .description =
        "MODE is octal or symbolic, as chmod(1) has it: 0644, u+x, go-w. Where it begins with '-',\n"
        "write '--' before it.",
    .examples =
        "insp chmod -a disk.img 0600 /etc/ssh/ssh_host_ed25519_key\n"
        "insp chmod -a disk.img -R go-w /srv",
    .options = kChmodOwnOptions,
    .shared_options = kDiskOptions | kMountOptions,
    .min_operands = 2,
    .run = run_chmod,
};

}  // namespace inspect::cli
