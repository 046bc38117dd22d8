// SPDX-License-Identifier: GPL-2.0-or-later
//
// What a running command has at hand, and how it speaks to the user.
#pragma once

#include <string_view>

#include "cli/command.h"
#include "cli/json.h"
#include "cli/output.h"

namespace inspect::cli {

struct Context {
    explicit Context(Arguments parsed) : args(std::move(parsed)), out(1), json(out) {}

    Arguments args;
    Output out;       // stdout
    JsonWriter json;  // on out; used under --json only

    bool wants_json() const { return (args.command().shared_options & kJsonOption) && args.has("json"); }
    bool quiet() const { return args.has("quiet"); }
    bool verbose() const { return args.has("verbose"); }

    // Lines on stderr: "insp cat: MESSAGE". Control characters are escaped.
    void error(std::string_view message) const;
    void warning(std::string_view message) const;                         // unless --quiet
    void note(std::string_view message) const;                            // with --verbose
    void trace(std::string_view call, std::string_view arguments) const;  // with -x
};

// "insp cat: MESSAGE\n" in one write; an empty command gives "insp: MESSAGE\n". Further lines of a message
// are indented, so that none can pass for a message of its own.
void print_error(std::string_view command, std::string_view message) noexcept;
void write_stderr(std::string_view text) noexcept;

}  // namespace inspect::cli
