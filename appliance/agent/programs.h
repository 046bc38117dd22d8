// SPDX-License-Identifier: GPL-2.0-or-later
//
// Programs: what puts storage stacks together runs the field's own tools, and reads what they print.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "child.h"
#include "connection.h"

namespace inspect::agent {

struct ProgramResult {
    ChildResult child;
    std::string output;  // at most 1 MiB
};

// Not thread-safe.
class Programs {
  public:
    explicit Programs(Connection& connection) : connection_(connection) {}

    // Runs arguments[0] to its end, with `input` (at most 64 KiB, a pipe's size) on its standard input.
    // Throws Failure when it can't be started, Cancelled.
    ProgramResult run(const std::vector<std::string>& arguments, std::string_view input = {});

  private:
    Connection& connection_;
};

}  // namespace inspect::agent
