// SPDX-License-Identifier: GPL-2.0-or-later
//
// A tool of the root image, run for its effect: what it says is kept, for its result or for an error's text.
#pragma once

#include <string>
#include <vector>

#include "child.h"
#include "connection.h"

namespace inspect::agent {

struct ToolResult {
    std::string program;  // its name, without the folder
    ChildResult child;
    std::string output;  // what it said on stdout, the last 64 KiB

    // It exited with this.
    bool exited_with(int code) const;
    // Throws Failure("cannot WHAT: resize2fs exited with 1: ...") unless it succeeded.
    void require(const std::string& what) const;
};

// Stdin is empty. Throws what run_child() does.
ToolResult run_tool(Connection& connection, const std::vector<std::string>& arguments);

}  // namespace inspect::agent
