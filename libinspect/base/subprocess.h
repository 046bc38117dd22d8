// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Subprocess: a program of the host's that we start: looked up on PATH, without a shell, with only those
// descriptors that it is given. It doesn't outlive us.
#pragma once

#include <signal.h>
#include <sys/types.h>

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "base/fd.h"

namespace inspect {

struct SubprocessOptions {
    // The program's name or path, and its arguments.
    std::vector<std::string> arguments;
    // Descriptors of ours, from 3 on, that the program gets under the same numbers. 0, 1 and 2 are /dev/null
    // but for what follows.
    std::vector<int> inherited = {};
    int standard_output = -1;  // a descriptor of ours, -1: /dev/null
    // What it gets when this process ends without having ended it.
    int death_signal = SIGKILL;
    // NAME=VALUE, added to our environment, or, unless that is inherited, all that there is but for PATH (the
    // system's own folders) and the language of messages.
    std::vector<std::string> environment = {};
    bool inherit_environment = true;
};

// A program's path, found as execvp(3) does, but never in the current directory. Empty when it isn't there.
std::string find_program(const std::string& name);

// A program of libinspect's own that users don't call, such as "insp-nbd": what the environment variable
// names, else ../libexec/libinspect/ beside the running program's directory, else the installation's. Empty
// when it isn't there.
std::string find_helper_program(const std::string& name, const char* variable);

// Not thread-safe. What the program writes to its standard error is kept, up to 64 KiB.
class Subprocess {
  public:
    // Starts it. Throws Error; kNotFound when there is no such program.
    explicit Subprocess(const SubprocessOptions& options);
    // Kills it if it still runs.
    ~Subprocess();
    Subprocess(const Subprocess&) = delete;
    Subprocess& operator=(const Subprocess&) = delete;

    pid_t pid() const noexcept { return pid_; }
    // Its wait status (as waitpid(2) gives it) once it has ended; nullopt when it hasn't after that time.
    std::optional<int> wait(std::chrono::milliseconds timeout);
    // Asks it to end (SIGTERM), waits so long, then kills it. Its wait status.
    int end(std::chrono::milliseconds patience);
    // What it wrote to its standard error so far: printable, without trailing line ends.
    std::string errors() const;
    // "ended with status 1", "was killed by signal 9".
    static std::string describe(int status);

  private:
    pid_t pid_ = -1;
    Fd pidfd_;
    Fd errors_;
    std::optional<int> status_;
};

struct ProgramResult {
    int status;          // as waitpid(2) gives it
    std::string output;  // what it wrote to its standard output
    std::string errors;  // to its standard error
};

// Runs a program to its end; its standard output is ours to choose. Throws Error: kNotFound when there is no
// such program, kInternal when it takes longer than `timeout` or writes more than `max_output` bytes.
ProgramResult run_program(SubprocessOptions options, std::chrono::milliseconds timeout, size_t max_output);
// With nothing but arguments.
ProgramResult run_program(std::vector<std::string> arguments, std::chrono::milliseconds timeout,
                          size_t max_output);

}  // namespace inspect
