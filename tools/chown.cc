// SPDX-License-Identifier: GPL-2.0-or-later
//
// insp chown: owners in the guest.
#include "cli/guest.h"
#include "commands.h"

namespace inspect::cli {
namespace {

constexpr Option kChownOwnOptions[] = {
    {'R', "recursive", Takes::kNothing, "", "and all that is below"},
    {'h', "no-dereference", Takes::kNothing, "", "a symlink itself, not what it points to"},
};

int run_chown(Context& context) {
    const std::vector<std::string>& operands = context.args.operands();
    bool recursive = context.args.has("recursive");
    bool no_dereference = context.args.has("no-dereference");
    Guest guest(context, Access::kChange);
    guest.mount();
    for (size_t i = 1; i < operands.size(); ++i)
        guest.call("chown", {operands[i], operands[0]})
            .chown(operands[i], operands[0], recursive, no_dereference);
    guest.commit();
    return kExitSuccess;
}

}  // namespace

constexpr Command kChownCommand = {
    .name = "chown",
    .summary = "change owners of the guest's files",
    .operands = "OWNER[:GROUP] PATH...",
    .description =
        "OWNER and GROUP are numbers, or names that the guest's own /etc/passwd and /etc/group know.",
    .examples =
        "insp chown -a disk.img www-data:www-data /var/www/html/index.html\n"
        "insp chown -a disk.img -R 1000:1000 /home/ann",
    .options = kChownOwnOptions,
    .shared_options = kDiskOptions | kMountOptions,
    .min_operands = 2,
    .run = run_chown,
};

}  // namespace inspect::cli
