// SPDX-License-Identifier: GPL-2.0-or-later
#include "tool.h"

#include <fcntl.h>
#include <sys/wait.h>

#include "base/fd.h"
#include "failure.h"
#include "log.h"

namespace inspect::agent {

namespace {

constexpr size_t kKept = 64 << 10;
constexpr size_t kShown = 500;

}  // namespace

bool ToolResult::exited_with(int code) const {
    return WIFEXITED(child.status) && WEXITSTATUS(child.status) == code;
}

void ToolResult::require(const std::string& what) const {
    if (child.succeeded()) return;
    std::string text = child.describe(program);
    // Some say on stdout what went wrong.
    std::string last = output.substr(output.size() > kShown ? output.size() - kShown : 0);
    while (!last.empty() && last.back() == '\n') last.pop_back();
    if (!last.empty()) text += "; " + last;
    throw Failure(proto::INTERNAL, "cannot " + what + ": " + text);
}

ToolResult run_tool(Connection& connection, const std::vector<std::string>& arguments) {
    ToolResult result;
    result.program = arguments[0].substr(arguments[0].rfind('/') + 1);
    std::string line;
    for (const std::string& argument : arguments) line += (line.empty() ? "" : " ") + argument;
    note("run " + line);
    const Fd nothing = open_file("/dev/null", O_RDONLY);
    result.child = run_child(connection, arguments, nothing.get(), [&](std::string_view bytes) {
        result.output.append(bytes);
        if (result.output.size() > 2 * kKept) result.output.erase(0, result.output.size() - kKept);
    });
    return result;
}

}  // namespace inspect::agent
