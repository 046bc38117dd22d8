// SPDX-License-Identifier: GPL-2.0-or-later
#include "cli/host_program.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

#include <inspect/error.h>

#include "cli/signals.h"

extern char** environ;

namespace inspect::cli {

HostProgram::HostProgram(const std::vector<std::string>& arguments, const std::string& input)
    : name_(arguments[0]) {
    int fds[2];
    if (::pipe2(fds, O_CLOEXEC) < 0) throw Error::from_errno("cannot make a pipe", errno);
    output_ = fds[0];
    posix_spawnattr_t attributes;
    posix_spawnattr_init(&attributes);
    sigset_t defaults;
    sigemptyset(&defaults);
    sigaddset(&defaults, SIGPIPE);
    posix_spawnattr_setsigdefault(&attributes, &defaults);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, input.empty() ? "/dev/null" : input.c_str(),
                                     O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, fds[1], STDOUT_FILENO);
    std::vector<char*> argv;
    for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
    argv.push_back(nullptr);
    int error = ::posix_spawnp(&pid_, argv[0], &actions, &attributes, argv.data(), environ);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    ::close(fds[1]);
    if (error == 0) return;
    ::close(output_);
    throw Error::from_errno("cannot run the program '" + name_ + "', which this needs", error,
                            ErrorKind::kNotFound);
}

HostProgram::~HostProgram() {
    ::close(output_);
    if (pid_ < 0) return;
    ::kill(pid_, SIGTERM);
    while (::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
    }
}

size_t HostProgram::read(std::span<std::byte> buffer) {
    for (;;) {
        ssize_t count = ::read(output_, buffer.data(), buffer.size());
        if (count >= 0) return static_cast<size_t>(count);
        check_interrupted();
        if (errno != EINTR) throw Error::from_errno("cannot read from '" + name_ + "'", errno);
    }
}

void HostProgram::finish() {
    int status = 0;
    while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
    }
    pid_ = -1;
    if (status != 0) throw Error(ErrorKind::kInternal, "the program '" + name_ + "' failed; see above");
}

}  // namespace inspect::cli
