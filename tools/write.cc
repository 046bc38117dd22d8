// SPDX-License-Identifier: GPL-2.0-or-later
//
// insp write: stdin into a file of the guest.
#include <unistd.h>

#include <cerrno>

#include "cli/guest.h"
#include "cli/text.h"
#include "commands.h"

namespace inspect::cli {
namespace {

constexpr Option kWriteOwnOptions[] = {
    {0, "append", Takes::kNothing, "", "to the end of the file"},
    {0, "mode", Takes::kValue, "MODE", "permissions in octal (-m is --mount)"},
    {0, "owner", Takes::kValue, "OWNER[:GROUP]", "numbers, or names of the guest"},
};

// As much of stdin as fits; 0 at its end.
size_t read_stdin(std::span<std::byte> buffer) {
    size_t done = 0;
    while (done < buffer.size()) {
        wait_readable(0);
        ssize_t got = ::read(0, buffer.data() + done, buffer.size() - done);
        if (got == 0) break;
        if (got > 0) {
            done += static_cast<size_t>(got);
        } else if (errno != EINTR && errno != EAGAIN) {
            throw Error::from_errno("cannot read the standard input", errno, ErrorKind::kDenied);
        }
    }
    return done;
}

int run_write(Context& context) {
    WriteOptions options;
    options.mode = context.args.has("append") ? WriteOptions::Mode::kAppend : WriteOptions::Mode::kReplace;
    if (std::optional<std::string> text = context.args.value("mode")) {
        options.permissions = parse_octal_mode(*text);
        if (!options.permissions)
            throw UsageError("--mode '" + *text + "' is not an octal mode such as 0644");
    }
    options.owner = context.args.value("owner").value_or("");
    Guest guest(context, Access::kChange);
    guest.mount();
    const std::string& path = context.args.operands()[0];
    guest.call("write_file", {path}).write_file(path, read_stdin, options);
    guest.commit();
    return kExitSuccess;
}

}  // namespace

constexpr Command kWriteCommand = {
    .name = "write",
    .summary = "write standard input to a file of the guest",
    .operands = "PATH",
    .description =
        "Makes the file, or replaces what is in it and keeps its owner, permissions and attributes.",
    .examples =
        "echo web01 | insp write -a disk.img /etc/hostname\n"
        "insp write -a disk.img --append --mode 0600 /root/.ssh/authorized_keys < id_ed25519.pub",
    .options = kWriteOwnOptions,
    .shared_options = kDiskOptions | kMountOptions,
    .min_operands = 1,
    .max_operands = 1,
    .run = run_write,
};

}  // namespace inspect::cli
