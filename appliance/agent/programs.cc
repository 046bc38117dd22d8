// SPDX-License-Identifier: GPL-2.0-or-later
#include "programs.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "failure.h"
#include "log.h"

namespace inspect::agent {

namespace {

constexpr size_t kMaxOutput = 1 << 20;

// A pipe with `text` in it and its end; never a file, because it may be a key.
Fd input_pipe(std::string_view text) {
    Pipe pipe = make_pipe();
    if (!text.empty()) {
        ::fcntl(pipe.write.get(), F_SETFL, O_NONBLOCK);
        if (::write(pipe.write.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size()))
            throw Failure(proto::USAGE, "more input for a program than a pipe takes");
    }
    return std::move(pipe.read);
}

}  // namespace

ProgramResult Programs::run(const std::vector<std::string>& arguments, std::string_view input) {
    if (log_verbose()) {
        std::string line = "run";
        for (const std::string& argument : arguments) line += " " + argument;
        note(line);
    }
    ProgramResult result;
    Fd in = input_pipe(input);
    result.child = run_child(connection_, arguments, in.get(), [&](std::string_view text) {
        result.output.append(text.substr(0, kMaxOutput - std::min(kMaxOutput, result.output.size())));
    });
    if (!result.child.succeeded()) note(result.child.describe(arguments[0]));
    return result;
}

}  // namespace inspect::agent
