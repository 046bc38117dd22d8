// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Where a repository is and its password, found as restic finds them: options, then the environment, then the
// terminal. Never the command line.
#pragma once

#include <string>

namespace inspect::repository {

struct Access {
    std::string location = {};          // empty: $RESTIC_REPOSITORY, or what $RESTIC_REPOSITORY_FILE has
    std::string password_file = {};     // empty: $RESTIC_PASSWORD_FILE
    std::string password_command = {};  // empty: $RESTIC_PASSWORD_COMMAND
};

// Throws Error(kUsage) when none is named, or both ways at once.
std::string find_location(const Access& access);
// Of the file its first line counts, of the command's output all but the line's end; else $RESTIC_PASSWORD,
// else it asks on the terminal: twice where `confirm`. Throws Error: kUsage when there is none of these.
std::string find_password(const Access& access, bool confirm);

}  // namespace inspect::repository
