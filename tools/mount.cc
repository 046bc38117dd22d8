// SPDX-License-Identifier: GPL-2.0-or-later
//
// insp mount: the guest's tree on a directory of the host.
#include <inspect/host_mount.h>

#include "cli/background.h"
#include "cli/guest.h"
#include "commands.h"

namespace inspect::cli {
namespace {

constexpr Option kMountOwnOptions[] = {
    {'i', "inspector", Takes::kNothing, "",
     "mount the operating system as its fstab says; what is done anyway"},
    {'o', "option", Takes::kValue, "OPTION[,OPTION...]",
     "options for FUSE: allow_other, default_permissions..."},
    {0, "subdir", Takes::kValue, "DIR", "show this directory of the guest"},
    {'f', "foreground", Takes::kNothing, "", "stay in the foreground", "no-fork"},
    {0, "pid-file", Takes::kValue, "FILE", "write the process's number to this file once it is mounted", "",
     "<file>"},
};

int run_mount(Context& context) {
    const Arguments& args = context.args;
    if (args.has("ro") && args.has("rw")) throw UsageError("--ro and --rw can't be used together");
    if (args.has("inspector") && args.has("mount"))
        throw UsageError("-i mounts the operating system, -m mounts without one: give one of them");
    HostMountOptions options = host_mount_options(args, args.operands()[0]);
    options.subdirectory = args.value("subdir").value_or("/");
    if (!options.subdirectory.starts_with('/')) options.subdirectory = "/" + options.subdirectory;
    MountProcess process(args);
    Guest guest(context, args.has("ro") ? Access::kRead : Access::kChange);
    guest.mount();
    options.stop_fd = guest.stop_fd();
    options.on_mounted = [&] {
        guest.serve_until_stopped();
        process.mounted();
    };
    bool changed = mount_on_host(guest.call("mount_on_host", {options.directory}), options);
    context.note(changed ? "the changes are in the images" : "nothing changed in the images");
    return kExitSuccess;
}

}  // namespace

constexpr Command kMountCommand = {
    .name = "mount",
    .summary = "show the guest's files on a directory of the host",
    .operands = "DIRECTORY",
    .description =
        "Mounts the guest on an empty directory, by FUSE: no root is needed, and the\n"
        "host's kernel never sees the guest's file systems. What is changed there\n"
        "reaches the images when it is unmounted, by 'insp umount': all of it or, if\n"
        "the process is killed, nothing. It goes to the background once the tree is there.",
    .examples =
        "insp mount -a disk.qcow2 --ro ./guest\n"
        "insp mount -a disk.qcow2 -m /dev/sda1 ./guest && cp file ./guest/root/ && insp umount ./guest",
    .options = kMountOwnOptions,
    .shared_options = kDiskOptions | kMountOptions,
    .min_operands = 1,
    .max_operands = 1,
    .host_operands = HostOperands::kAll,
    .run = run_mount,
};

}  // namespace inspect::cli
