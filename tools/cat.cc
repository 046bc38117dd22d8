// SPDX-License-Identifier: GPL-2.0-or-later
//
// insp cat: files of the guest on stdout.
#include "cli/guest.h"
#include "commands.h"

namespace inspect::cli {
namespace {

int run_cat(Context& context) {
    Guest guest(context, Access::kRead);
    guest.mount();
    for (const std::string& path : context.args.operands())
        guest.call("read_file", {path}).read_file(path, [&](std::span<const std::byte> bytes) {
            context.out.write(bytes);
        });
    context.out.flush();
    return kExitSuccess;
}

}  // namespace

constexpr Command kCatCommand = {
    .name = "cat",
    .summary = "print files of the guest",
    .operands = "PATH...",
    .description = "Prints the files one after the other. Stops at the first that can't be read.",
    .examples =
        "insp cat -a disk.img /etc/fstab\n"
        "insp cat -a disk.img -m /dev/sda2 /var/log/dpkg.log | tail",
    .options = {},
    .shared_options = kDiskOptions | kMountOptions,
    .min_operands = 1,
    .run = run_cat,
};

}  // namespace inspect::cli
