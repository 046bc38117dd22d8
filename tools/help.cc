// SPDX-License-Identifier: GPL-2.0-or-later
//
// insp help: the help of a command, and of all for machines.
#include "cli/help.h"

#include "cli/context.h"
#include "commands.h"

namespace inspect::cli {
namespace {

constexpr Option kHelpOwnOptions[] = {
    {0, "machine", Takes::kNothing, "", "all commands and options, for completions and tests"},
};

int run_help(Context& context) {
    const std::vector<std::string>& operands = context.args.operands();
    if (context.args.has("machine")) {
        context.out.write(machine_help(all_commands()));
    } else if (operands.empty()) {
        context.out.write(program_help(all_commands()));
    } else {
        const Command* command = find_command(operands[0]);
        if (command == nullptr) throw UsageError("there is no command '" + operands[0] + "'");
        context.out.write(command_help(*command));
    }
    return kExitSuccess;
}

}  // namespace

constexpr Command kHelpCommand = {
    .name = "help",
    .summary = "show the help of a command",
    .operands = "[COMMAND]",
    .description = "The same as 'insp COMMAND --help'.",
    .examples = "insp help edit",
    .options = kHelpOwnOptions,
    .max_operands = 1,
    .operand_words = "<command>",
    .run = run_help,
};

}  // namespace inspect::cli
