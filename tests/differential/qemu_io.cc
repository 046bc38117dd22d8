// SPDX-License-Identifier: GPL-2.0-or-later
#include "qemu_io.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <stdexcept>

namespace {

// Starts a program; `in` and `out` are our ends of its stdin (if wanted) and of its stdout and stderr.
pid_t start(const std::vector<std::string>& arguments, int* in, int* out) {
    int to[2] = {-1, -1}, from[2];
    if ((in != nullptr && ::pipe2(to, O_CLOEXEC) < 0) || ::pipe2(from, O_CLOEXEC) < 0) {
        throw std::runtime_error("pipe");
    }
    std::vector<char*> argv;
    for (const std::string& argument : arguments)
        argv.push_back(const_cast<char*>(argument.c_str()));  // NOLINT
    argv.push_back(nullptr);
    const pid_t pid = ::fork();
    if (pid < 0) throw std::runtime_error("fork");
    if (pid == 0) {
        const int null = ::open("/dev/null", O_RDONLY);
        ::dup2(in != nullptr ? to[0] : null, 0);
        ::dup2(from[1], 1);
        ::dup2(from[1], 2);
        ::execvp(argv[0], argv.data());
        ::_exit(127);
    }
    if (in != nullptr) {
        ::close(to[0]);
        *in = to[1];
    }
    ::close(from[1]);
    *out = from[0];
    return pid;
}

int wait_for(pid_t pid) {
    int status = 0;
    while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

constexpr const char* kPrompt = "qemu-io> ";

}  // namespace

QemuIo::QemuIo(const std::vector<std::string>& arguments) {
    std::vector<std::string> all{"qemu-io"};
    all.insert(all.end(), arguments.begin(), arguments.end());
    pid_ = start(all, &to_, &from_);
    read_to_prompt();
}

QemuIo::~QemuIo() {
    if (to_ >= 0) ::close(to_);
    if (from_ >= 0) ::close(from_);
    if (pid_ > 0) {
        ::kill(pid_, SIGKILL);
        wait_for(pid_);
    }
}

std::string QemuIo::read_to_prompt() {
    std::string text;
    const std::string prompt = kPrompt;
    while (!text.ends_with(prompt)) {
        char piece[4096];
        const ssize_t n = ::read(from_, piece, sizeof piece);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) throw std::runtime_error("qemu-io has ended: " + text);
        text.append(piece, static_cast<size_t>(n));
    }
    text.resize(text.size() - prompt.size());
    return text;
}

std::string QemuIo::run(const std::string& command) {
    const std::string line = command + "\n";
    for (size_t done = 0; done < line.size();) {
        const ssize_t n = ::write(to_, line.data() + done, line.size() - done);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) throw std::runtime_error("qemu-io does not listen");
        done += static_cast<size_t>(n);
    }
    return read_to_prompt();
}

void QemuIo::quit() {
    ::close(to_);
    to_ = -1;
    const int status = wait_for(pid_);
    pid_ = -1;
    // 1 says that some command failed, which was seen when it did.
    if (status > 1) throw std::runtime_error("qemu-io ended with " + std::to_string(status));
}

Outcome run_program(const std::vector<std::string>& arguments) {
    int from;
    const pid_t pid = start(arguments, nullptr, &from);
    Outcome outcome{};
    char piece[4096];
    for (ssize_t n; (n = ::read(from, piece, sizeof piece)) != 0;) {
        if (n < 0) {
            if (errno == EINTR) continue;
            break;
        }
        outcome.output.append(piece, static_cast<size_t>(n));
    }
    ::close(from);
    outcome.status = wait_for(pid);
    return outcome;
}

bool have_program(const std::string& name) { return run_program({name, "--version"}).status == 0; }
