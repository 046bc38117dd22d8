// SPDX-License-Identifier: GPL-2.0-or-later
//
// insp run: a program in the appliance, or in the guest's tree, as if it were run here: its output, its input
// and its exit code are passed through.
#include "cli/guest.h"
#include "cli/program.h"
#include "commands.h"

namespace inspect::cli {
namespace {

constexpr Option kRunOwnOptions[] = {
    {'i', "inspector", Takes::kNothing, "", "mount the operating system on /sysroot"},
    {0, "chroot", Takes::kNothing, "", "run it in the guest's tree, not in the appliance"},
    {'e', "env", Takes::kValue, "NAME=VALUE", "set an environment variable of the program"},
    {'C', "directory", Takes::kValue, "PATH", "the directory to run it in"},
    {0, "keep-changes", Takes::kNothing, "", "with --rw: also when the program failed"},
};

// One operand is a line for the shell, as for ssh(1) and virt-customize; several are a program and its
// arguments, as they are.
std::vector<std::string> command_line(const std::vector<std::string>& operands) {
    if (operands.size() > 1) return operands;
    return {"/bin/sh", "-c", operands[0]};
}

int run_run(Context& context) {
    const Arguments& args = context.args;
    const bool writable = args.has("rw");
    if (writable && args.has("ro")) throw UsageError("--ro and --rw can't be used together");
    if (!writable && args.has("keep-changes"))
        throw UsageError("--keep-changes is of use with --rw only: nothing is kept without it");
    RunOptions options;
    options.arguments = command_line(args.operands());
    options.environment = args.values("env");
    for (const std::string& variable : options.environment) {
        if (variable.find('=') == variable.npos || variable.starts_with('='))
            throw UsageError("--env is NAME=VALUE, not '" + variable + "'");
    }
    options.directory = args.value("directory").value_or("");
    options.chroot = args.has("chroot");
    if (options.arguments[0].empty()) throw UsageError("the command is empty");

    Guest guest(context, writable ? Access::kChange : Access::kRead);
    if (options.chroot || args.has("inspector") || args.has("mount") || args.has("root")) guest.mount();
    Session& session = guest.call("run", {options.arguments[0]});
    const RunResult result = run_on_standard_streams(session, std::move(options), context.out);
    if (!result.not_started.empty()) {
        context.error(result.not_started);
    } else if (result.signal != 0) {
        context.note("the program died of signal " + std::to_string(result.signal));
    }
    if (writable && (result.succeeded() || (args.has("keep-changes") && result.not_started.empty()))) {
        guest.commit();
    } else if (writable) {
        context.warning("the program failed: nothing is changed in the images");
    }
    return exit_code_of(result);
}

}  // namespace

constexpr Command kRunCommand = {
    .name = "run",
    .summary = "run a command in the appliance or in the guest's tree",
    .operands = "COMMAND [ARG...]",
    .description =
        "Runs a program of the appliance on the disks /dev/sda..., or with --chroot one of the\n"
        "guest. There is no network. Input, output and exit code are passed through; a single\n"
        "operand is a line for sh -c. With --rw the changes are kept, if the program succeeds.",
    .examples =
        "insp run -a disk.img blkid\n"
        "insp run -a disk.img -i 'du -sh /sysroot/var/*'\n"
        "insp run -a disk.img --chroot dpkg -l\n"
        "insp run -a disk.img --rw --chroot 'systemctl disable ssh && rm /etc/ssh/ssh_host_*'",
    .options = kRunOwnOptions,
    .shared_options = kDiskOptions | kMountOptions,
    .min_operands = 1,
    .run = run_run,
    .failure_code = kExitOwnFailure,
    .usage_code = kExitOwnFailure,
    .operands_end_options = true,
};

}  // namespace inspect::cli
