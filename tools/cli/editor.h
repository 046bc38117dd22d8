// SPDX-License-Identifier: GPL-2.0-or-later
//
// The user's editor on a copy of a file.
#pragma once

#include <string>

namespace inspect::cli {

// The editor's command line: $VISUAL, else $EDITOR, else "vi".
std::string editor_command();

// Runs it through the shell on the file and waits for it. SIGINT and SIGQUIT are the editor's meanwhile.
// Throws Error(kCancelled) when it fails, is killed, or when a signal asks this program to end (which ends
// the editor, too).
void run_editor(const std::string& command, const std::string& file);

// True when both files have the same bytes. Throws Error.
bool same_contents(const std::string& a, const std::string& b);

}  // namespace inspect::cli
