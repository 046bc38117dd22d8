// SPDX-License-Identifier: GPL-2.0-or-later
#include "child.h"

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>

#include "failure.h"

namespace inspect::agent {

namespace {

constexpr size_t kMaxErrors = 4 << 10;
constexpr size_t kPipeChunk = 64 << 10;
constexpr int kLookEveryMs = 1000;  // for signs of life to the host

// Kills and reaps the program if it is still there.
struct Reaper {
    pid_t pid;
    ~Reaper() {
        if (pid <= 0) return;
        ::kill(pid, SIGKILL);
        while (::waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {
        }
    }
};

// Posix_spawn() rather than fork(): no page table is copied.
pid_t spawn(const std::vector<std::string>& arguments, int in, int out, int error) {
    std::vector<char*> argv;
    for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
    argv.push_back(nullptr);
    posix_spawn_file_actions_t actions;
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawn_file_actions_adddup2(&actions, in, 0);
    ::posix_spawn_file_actions_adddup2(&actions, out, 1);
    ::posix_spawn_file_actions_adddup2(&actions, error, 2);
    pid_t pid = -1;
    int result = ::posix_spawn(&pid, argv[0], &actions, nullptr, argv.data(), environ);
    ::posix_spawn_file_actions_destroy(&actions);
    if (result != 0)
        throw Failure(proto::ENGINE,
                      "cannot run " + arguments[0] + " in the appliance: " + errno_text(result), result);
    return pid;
}

}  // namespace

Pipe make_pipe() {
    int fds[2];
    if (::pipe2(fds, O_CLOEXEC) < 0) fail_errno("cannot make", "a pipe");
    return {Fd(fds[0]), Fd(fds[1])};
}

std::string ChildResult::describe(const std::string& program) const {
    std::string text = program;
    if (WIFSIGNALED(status)) {
        text += WTERMSIG(status) == SIGKILL ? " was killed: there may be too little memory in the appliance"
                                            : " died of signal " + std::to_string(WTERMSIG(status));
    } else {
        text += " exited with " + std::to_string(WEXITSTATUS(status));
    }
    std::string last = errors;
    while (!last.empty() && last.back() == '\n') last.pop_back();
    return last.empty() ? text : text + ": " + last;
}

ChildResult run_child(Connection& connection, const std::vector<std::string>& arguments, int stdin_fd,
                      const std::function<void(std::string_view)>& output) {
    Pipe out = make_pipe();
    Pipe error = make_pipe();
    Reaper reaper{spawn(arguments, stdin_fd, out.write.get(), error.write.get())};
    out.write.reset();
    error.write.reset();
    Fd process(static_cast<int>(::syscall(SYS_pidfd_open, reaper.pid, 0)));
    if (!process) fail_errno("cannot watch", arguments[0]);

    ChildResult result{0, {}};
    std::string buffer(kPipeChunk, '\0');
    bool exited = false;
    // Until it is gone and its output, which a child of its own might hold open, is read as far as it goes.
    while (!exited || out.read || error.read) {
        pollfd wait[] = {{out.read.get(), POLLIN, 0},
                         {error.read.get(), POLLIN, 0},
                         {exited ? -1 : process.get(), POLLIN, 0},
                         {connection.input_fd(), POLLIN, 0}};
        int ready = ::poll(wait, 4, exited ? 0 : kLookEveryMs);
        if (ready < 0 && errno != EINTR) fail_errno("cannot wait for", arguments[0]);
        if (ready == 0 && exited) break;
        if (ready > 0 && wait[3].revents) connection.hear();
        if (connection.cancelled()) throw Cancelled();
        connection.check_cancelled();
        if (ready <= 0) continue;
        if (wait[0].revents) {
            ssize_t n = ::read(out.read.get(), buffer.data(), buffer.size());
            if (n <= 0) out.read.reset();
            if (n > 0) output(std::string_view(buffer).substr(0, static_cast<size_t>(n)));
        }
        if (wait[1].revents) {
            ssize_t n = ::read(error.read.get(), buffer.data(), buffer.size());
            if (n <= 0) error.read.reset();
            if (n > 0)
                result.errors.append(buffer, 0,
                                     std::min(static_cast<size_t>(n), kMaxErrors - result.errors.size()));
        }
        if (wait[2].revents) exited = true;
    }
    while (::waitpid(reaper.pid, &result.status, 0) < 0 && errno == EINTR) {
    }
    reaper.pid = 0;
    return result;
}

}  // namespace inspect::agent
