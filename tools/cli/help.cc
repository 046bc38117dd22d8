// SPDX-License-Identifier: GPL-2.0-or-later
#include "cli/help.h"

#include <algorithm>

namespace inspect::cli {
namespace {

constexpr size_t kHelpColumn = 30;

// The option's letter, 0 where it means something else in this command.
char letter_of(const Command& command, const Option& option) {
    for (const Option& own : command.options)
        if (&own != &option && own.letter == option.letter) return 0;
    return option.letter;
}

// "  -a, --add=IMAGE"
std::string option_head(const Option& option, char letter) {
    std::string head = letter != 0 ? std::string("  -") + letter : "    ";
    if (*option.name != 0) head += (letter != 0 ? ", --" : "  --") + std::string(option.name);
    if (option.takes == Takes::kValue)
        head += (*option.name != 0 ? "=" : " ") + std::string(option.value_name);
    if (option.takes == Takes::kOptionalValue) head += "[=" + std::string(option.value_name) + "]";
    return head;
}

std::string two_columns(const std::string& left, const std::string& right) {
    std::string line = left;
    if (line.size() + 2 > kHelpColumn) {
        line += '\n';
        line.append(kHelpColumn, ' ');
    } else {
        line.append(kHelpColumn - line.size(), ' ');
    }
    return line + right + "\n";
}

std::string indented(std::string_view lines) {
    std::string out;
    while (!lines.empty()) {
        size_t end = lines.find('\n');
        out += "  " + std::string(lines.substr(0, end)) + "\n";
        lines.remove_prefix(end == std::string_view::npos ? lines.size() : end + 1);
    }
    return out;
}

// Shells join neighbouring tabs, so no field is empty.
std::string field(const char* text) { return *text != 0 ? text : "-"; }

}  // namespace

std::string program_help(std::span<const Command* const> commands) {
    std::string out =
        "insp opens the disk images of virtual machines at rest: it looks inside, edits and\n"
        "copies without starting the guest.\n\n"
        "Usage: insp COMMAND [OPTION...] [OPERAND...]\n\nCommands:\n";
    for (const Command* command : commands) {
        std::string name = command->name;
        name.resize(std::max<size_t>(name.size(), 13), ' ');
        out += "  " + name + command->summary + "\n";
    }
    out +=
        "\nOptions:\n"
        "  -V, --version  show the version\n"
        "      --help     show this help\n\n"
        "Examples:\n"
        "  insp inspect -a disk.img\n"
        "  insp cat -a disk.img /etc/fstab\n"
        "  insp edit -a disk.img /etc/hostname -e 's/old/new/'\n\n"
        "Every command has --help and a manual page: 'insp cat --help', 'man insp-cat'.\n";
    return out;
}

std::string command_help(const Command& command) {
    std::string name = command.name;
    bool disks = (command.shared_options & kDiskOptions) != 0;
    std::string out = "insp " + name + ": " + command.summary + "\n\nUsage: insp " + name;
    if (disks) out += " -a IMAGE";
    out += " [OPTION...]";
    if (*command.operands != 0) out += std::string(" ") + command.operands;
    out += "\n\n" + std::string(command.description) + "\n";
    for (const OptionGroup& group : option_groups(command)) {
        if (group.options.empty()) continue;
        if (*group.title != 0) out += std::string("\n") + group.title + ":\n";
        for (const Option& option : group.options) {
            if (is_replaced(command, option)) continue;
            out += two_columns(option_head(option, letter_of(command, option)), option.help);
        }
    }
    out += "\nExamples:\n" + indented(command.examples) + "\nMore: man insp-" + name + ", man insp\n";
    return out;
}

std::string machine_help(std::span<const Command* const> commands) {
    std::string out;
    for (const Command* command : commands) {
        std::string name = command->name;
        const char* host = command->host_operands == HostOperands::kNone   ? "none"
                           : command->host_operands == HostOperands::kLast ? "last"
                           : command->host_operands == HostOperands::kAll  ? "all"
                                                                           : "all-but-last";
        out += "command\t" + name + "\t" + command->summary + "\t" + host + "\t" +
               field(command->operand_words) + "\n";
        for (const OptionGroup& group : option_groups(*command)) {
            for (const Option& option : group.options) {
                if (is_replaced(*command, option)) continue;
                char letter = letter_of(*command, option);
                const char* takes = option.takes == Takes::kNothing ? "nothing"
                                    : option.takes == Takes::kValue ? "value"
                                                                    : "optional";
                out += "option\t" + name + "\t" + (letter != 0 ? std::string("-") + letter : "-") + "\t" +
                       (*option.name != 0 ? std::string("--") + option.name : "-") + "\t" + takes + "\t" +
                       field(option.values) + "\t" + option.help + "\n";
            }
        }
    }
    return out;
}

}  // namespace inspect::cli
