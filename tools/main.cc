// SPDX-License-Identifier: GPL-2.0-or-later
//
// insp: finds the subcommand, parses for it, runs it, and turns what happened into an exit code.
#include <fcntl.h>
#include <signal.h>

#include <algorithm>
#include <cerrno>
#include <new>

#include "cli/context.h"
#include "cli/help.h"
#include "cli/signals.h"
#include "commands.h"

namespace inspect::cli {
namespace {

// A descriptor 0, 1 or 2 that is closed would become the first file we open: an image, into which our output
// would then go. Filled with one that can't be used the way it is meant.
void fill_standard_descriptors() {
    for (int fd = 0; fd <= 2; ++fd)
        if (fcntl(fd, F_GETFD) < 0 && errno == EBADF) open("/dev/null", fd == 0 ? O_WRONLY : O_RDONLY);
}

// How many letters one must change, add or remove to make b of a.
size_t distance(std::string_view a, std::string_view b) {
    std::vector<size_t> row(b.size() + 1);
    for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
    for (size_t i = 1; i <= a.size(); ++i) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= b.size(); ++j) {
            size_t above = row[j];
            row[j] = std::min({above + 1, row[j - 1] + 1, diagonal + (a[i - 1] == b[j - 1] ? 0 : 1)});
            diagonal = above;
        }
    }
    return row[b.size()];
}

int unknown_command(std::string_view name) {
    if (name.starts_with('-')) {
        print_error("", "unknown option '" + std::string(name) + "'; the options of a command come after it");
    } else {
        std::string message = "there is no command '" + std::string(name) + "'";
        for (const Command* command : all_commands()) {
            // The virt-* tools' names are what fingers remember.
            if (name == std::string("virt-") + command->name ||
                (name.size() < 20 && distance(name, command->name) <= 2)) {
                message += std::string("; did you mean '") + command->name + "'?";
                break;
            }
        }
        print_error("", message);
    }
    write_stderr("Try 'insp --help'.\n");
    return kExitUsage;
}

// Runs it and reports its failure. What it printed may not have been written yet.
int run_command(Context& context) {
    try {
        int code = context.args.command().run(context);
        context.out.close();
        return code;
    } catch (const UsageError&) {
        throw;
    } catch (const Error& error) {
        if (error.kind() == ErrorKind::kCancelled && pending_signal() != 0) throw;
        context.error(error.message());
        if (context.wants_json()) {
            context.json.fail(error_kind_name(error.kind()), error.message());
        }
        context.out.flush();
        return context.args.command().failure_code;
    }
}

int run(int argc, char* argv[]) {
    Output out(1);
    std::string_view first = argc > 1 ? argv[1] : "";
    if (argc < 2) {
        write_stderr(program_help(all_commands()));
        return kExitUsage;
    }
    if (first == "-V" || first == "--version") {
        out.write("insp " INSP_VERSION "\n");
        out.close();
        return kExitSuccess;
    }
    if (first == "--help" || first == "-h") {
        out.write(program_help(all_commands()));
        out.close();
        return kExitSuccess;
    }
    const Command* command = find_command(first);
    if (command == nullptr) return unknown_command(first);
    try {
        Context context(Arguments::parse(*command, argc - 1, argv + 1));
        if (context.args.has("help") || context.args.has("version")) {
            context.out.write(context.args.has("help") ? command_help(*command) : "insp " INSP_VERSION "\n");
            context.out.close();
            return kExitSuccess;
        }
        return run_command(context);
    } catch (const UsageError& error) {
        print_error(command->name, error.message());
        write_stderr(std::string("Try 'insp ") + command->name + " --help'.\n");
        return command->usage_code;
    }
}

}  // namespace
}  // namespace inspect::cli

int main(int argc, char* argv[]) {
    using namespace inspect::cli;
    fill_standard_descriptors();
    signals_start();
    const Command* command = argc > 1 ? find_command(argv[1]) : nullptr;
    std::string_view name = command != nullptr ? command->name : "";
    try {
        return run(argc, argv);
    } catch (const BrokenPipe&) {
        die_by_signal(SIGPIPE);
    } catch (const inspect::Error& error) {
        if (error.kind() == inspect::ErrorKind::kCancelled && pending_signal() != 0)
            die_by_signal(pending_signal());
        print_error(name, error.message());
    } catch (const std::bad_alloc&) {
        print_error(name, "out of memory");
    } catch (const std::exception& error) {
        print_error(name, std::string("a bug in insp: ") + error.what());
    }
    return command != nullptr ? command->failure_code : kExitFailure;
}
