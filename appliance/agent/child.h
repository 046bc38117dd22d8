// SPDX-License-Identifier: GPL-2.0-or-later
//
// Running a program of the root image.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/fd.h"
#include "connection.h"

namespace inspect::agent {

struct Pipe {
    Fd read;
    Fd write;
};
Pipe make_pipe();

struct ChildResult {
    int status;          // as waitpid() gives it
    std::string errors;  // what it said on stderr, at most some KiB
    bool succeeded() const { return status == 0; }
    // "perl: exited with 2: syntax error at ...", for messages.
    std::string describe(const std::string& program) const;
};

// Runs arguments[0] (a path) with `stdin_fd` as its standard input and gives `output` what it writes. The
// program is killed when the request is cancelled or `output` throws. Throws Failure(ENGINE) when it can't be
// started.
ChildResult run_child(Connection& connection, const std::vector<std::string>& arguments, int stdin_fd,
                      const std::function<void(std::string_view)>& output);

}  // namespace inspect::agent
