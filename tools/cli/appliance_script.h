// SPDX-License-Identifier: GPL-2.0-or-later
//
// The field's own tools, run in the appliance: a line for its shell with arguments, and what it said.
#pragma once

#include <string>
#include <vector>

#include "cli/guest.h"

namespace inspect::cli {

struct ScriptResult {
    int exit_code = 0;   // as a shell has it
    std::string output;  // bytes of the appliance: not to be trusted
    std::string errors;
    bool succeeded() const { return exit_code == 0; }
    // The last lines of what it said, printable; for a message.
    std::string last_words() const;
};

struct Script {
    const char* text;  // $1, $2... are the arguments
    std::vector<std::string> arguments = {};
    std::string input = {};
    bool bare_disks = true;  // see RunOptions
};

// Throws Error when it could not be run, and when it says more than some MiB.
ScriptResult run_script(Guest& guest, const Script& script);
// The same; throws Error(kind) "WHAT: its last words" when it fails.
ScriptResult must_run_script(Guest& guest, const Script& script, const std::string& what,
                             ErrorKind kind = ErrorKind::kInternal);

}  // namespace inspect::cli
