// SPDX-License-Identifier: GPL-2.0-or-later
#include "cli/context.h"

#include <unistd.h>

#include <cerrno>

#include "cli/text.h"

namespace inspect::cli {

void write_stderr(std::string_view text) noexcept {
    while (!text.empty()) {
        ssize_t written = ::write(2, text.data(), text.size());
        if (written < 0 && errno != EINTR) return;  // nobody left to tell
        if (written > 0) text.remove_prefix(static_cast<size_t>(written));
    }
}

void print_error(std::string_view command, std::string_view message) noexcept {
    try {
        std::string line = "insp";
        if (!command.empty()) {
            line += ' ';
            line += command;
        }
        line += ": ";
        while (true) {
            size_t end = message.find('\n');
            line += escape_message(message.substr(0, end)) + "\n";
            if (end == std::string_view::npos || end + 1 == message.size()) break;
            message.remove_prefix(end + 1);
            line += "  ";
        }
        write_stderr(line);
    } catch (const std::bad_alloc&) {
        write_stderr("insp: out of memory\n");
    }
}

void Context::error(std::string_view message) const { print_error(args.command().name, message); }

void Context::warning(std::string_view message) const {
    if (!quiet()) print_error(args.command().name, "warning: " + std::string(message));
}

void Context::note(std::string_view message) const {
    if (verbose()) print_error(args.command().name, message);
}

void Context::trace(std::string_view call, std::string_view arguments) const {
    if (args.has("x"))
        print_error(args.command().name, "trace: " + std::string(call) + "(" + std::string(arguments) + ")");
}

}  // namespace inspect::cli
