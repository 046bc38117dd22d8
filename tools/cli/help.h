// SPDX-License-Identifier: GPL-2.0-or-later
//
// --help, and the machine-readable description of all commands that completions and tests use.
#pragma once

#include <string>

#include "cli/command.h"

namespace inspect::cli {

std::string program_help(std::span<const Command* const> commands);
std::string command_help(const Command& command);

// 'insp help --machine': one line an item, fields separated by tabs.
//   command NAME SUMMARY HOST-OPERANDS OPERAND-WORDS   host operands: "none", "last" or "all-but-last"
//   option  COMMAND LETTER LONG TAKES VALUES HELP      as "-a" and "--add"; takes "nothing", "value" or
//   "optional"
// Words and values are words, "<file>", "<directory>" or "<command>". A field without anything is "-".
std::string machine_help(std::span<const Command* const> commands);

}  // namespace inspect::cli
