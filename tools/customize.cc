// SPDX-License-Identifier: GPL-2.0-or-later
//
// insp customize: host name, passwords, users, keys, files and scripts of a guest, in the order of the
// options.
#include <inspect/customize.h>

#include "cli/guest.h"
#include "cli/text.h"
#include "commands.h"

namespace inspect::cli {
namespace {

// The library's operations, and what is about all of them.
const std::vector<Option>& options() {
    static const std::vector<Option> all = [] {
        std::vector<Option> options;
        for (const CustomizeOperation& operation : customize_operations()) {
            options.push_back({.name = operation.name,
                               .takes = *operation.argument == 0 ? Takes::kNothing : Takes::kValue,
                               .value_name = operation.argument,
                               .help = operation.help});
        }
        options.push_back({.name = "commands-from-file",
                           .takes = Takes::kValue,
                           .value_name = "FILE",
                           .help = "the operations in this file, one a line, without dashes",
                           .values = "<file>"});
        options.push_back({.name = "password-crypto",
                           .takes = Takes::kValue,
                           .value_name = "METHOD",
                           .help = "hash passwords by yescrypt, sha512, sha256 or md5",
                           .values = "yescrypt sha512 sha256 md5"});
        return options;
    }();
    return all;
}

// In the order in which they were given; one file's where the file was.
std::vector<CustomizeStep> steps_of(const Arguments& arguments, bool& plain_passwords) {
    std::vector<CustomizeStep> steps;
    for (const auto& [option, value] : arguments.given()) {
        const std::string_view name = option_key(*option);
        if (name == "commands-from-file") {
            for (CustomizeStep& step : read_customize_file(*value)) {
                plain_passwords = true;
                steps.push_back(std::move(step));
            }
            continue;
        }
        for (const CustomizeOperation& operation : customize_operations()) {
            if (name != operation.name) continue;
            if (option->takes == Takes::kValue && value->empty())
                throw UsageError("--" + std::string(name) + " is " + operation.argument + ", not empty");
            // What stands in a file may be secret; what stands here can't.
            if ((name == "password" || name == "root-password") && value->find("password:") != value->npos)
                throw UsageError(
                    "--" + std::string(name) +
                    ": a password on the command line can be read by everybody on this host; give it "
                    "by file:PATH, fd:NUMBER, env:NAME or prompt");
            steps.push_back({std::string(name), value.value_or("")});
        }
    }
    if (steps.empty()) throw UsageError("there is nothing to do; see 'insp customize --help'");
    return steps;
}

int run_customize(Context& context) {
    CustomizeOptions how;
    how.password_crypto = context.args.value("password-crypto").value_or("");
    how.on_step = [&](const std::string& what) {
        if (!context.quiet()) write_stderr(what + "\n");
    };
    how.on_output = [&](std::span<const std::byte> bytes) {
        if (!context.quiet()) write_stderr({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
    };
    std::vector<std::pair<std::string, std::string>> random;
    how.on_random_password = [&](const std::string& user, const std::string& password) {
        random.emplace_back(user, password);
    };
    const std::vector<CustomizeStep> steps = steps_of(context.args, how.allow_plain_passwords);
    std::optional<Customization> customization;
    try {
        customization.emplace(steps, std::move(how));
    } catch (const Error& error) {
        if (error.kind() != ErrorKind::kUsage) throw;
        throw UsageError("--" + error.message());
    }
    Guest guest(context, Access::kChange);
    guest.mount();
    customization->apply(guest.call("customize"));
    guest.commit();
    // Now they are true.
    for (const auto& [user, password] : random) context.out.write(user + ": " + password + "\n");
    return kExitSuccess;
}

}  // namespace

const Command kCustomizeCommand = {
    .name = "customize",
    .summary = "set a guest's host name, passwords, keys, files and scripts",
    .operands = "",
    .description =
        "Does what the options say in the guest, in their order, all of it or nothing. Options\n"
        "and arguments are virt-customize's. Random passwords are printed on stdout.",
    .examples =
        "insp customize -a disk.img --hostname web-01 --root-password random\n"
        "insp customize -a disk.img --ssh-inject root:file:id.pub --timezone Europe/Berlin\n"
        "insp customize -a disk.img --run-command 'systemctl enable nginx' --firstboot setup.sh",
    .options = options(),
    .shared_options = kDiskOptions | kMountOptions,
    .max_operands = 0,
    .run = run_customize,
};

}  // namespace inspect::cli
