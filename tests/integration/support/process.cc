// SPDX-License-Identifier: GPL-2.0-or-later
#include "support/process.h"

#include <dirent.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <set>
#include <sstream>
#include <stdexcept>
#include <system_error>

namespace inspect::test {
namespace {

// The children that a Child owns; all others of ours are strays.
std::set<pid_t>& owned() {
    static std::set<pid_t> pids;
    return pids;
}

int temporary_file(const char* name, const std::string& contents = {}) {
    int fd = memfd_create(name, MFD_CLOEXEC);
    if (fd < 0) throw std::system_error(errno, std::generic_category(), "memfd_create");
    for (size_t done = 0; done < contents.size();) {
        ssize_t count = write(fd, contents.data() + done, contents.size() - done);
        if (count < 0) throw std::system_error(errno, std::generic_category(), "write");
        done += static_cast<size_t>(count);
    }
    lseek(fd, 0, SEEK_SET);
    return fd;
}

std::string contents(int fd) {
    std::string text;
    char buffer[65536];
    ssize_t count;
    while ((count = pread(fd, buffer, sizeof buffer, static_cast<off_t>(text.size()))) > 0) {
        text.append(buffer, static_cast<size_t>(count));
    }
    return text;
}

// In the child: becomes the program, or says on stderr why not and ends with 127.
[[noreturn]] void become(const std::vector<std::string>& argv, const Options& options, int in, int out,
                         int err) {
    auto fail = [](const char* what) {
        dprintf(STDERR_FILENO, "%s: %s\n", what, strerror(errno));
        _exit(127);
    };
    dup2(in, STDIN_FILENO);
    dup2(out, STDOUT_FILENO);
    dup2(err, STDERR_FILENO);
    setpgid(0, 0);
    for (const auto& [name, value] : options.env) {
        if (value.empty()) {
            unsetenv(name.c_str());
        } else {
            setenv(name.c_str(), value.c_str(), 1);
        }
    }
    if (!options.directory.empty() && chdir(options.directory.c_str()) != 0) fail("chdir");
    if (options.file_size_limit) {
        rlimit limit{*options.file_size_limit, *options.file_size_limit};
        if (setrlimit(RLIMIT_FSIZE, &limit) != 0) fail("setrlimit");
        signal(SIGXFSZ, SIG_IGN);
    }
    if (options.user) {
        if (setgroups(options.groups.size(), options.groups.data()) != 0 || setgid(*options.user) != 0 ||
            setuid(*options.user) != 0)
            fail("setuid");
    }
    std::vector<char*> args;
    for (const std::string& arg : argv) args.push_back(const_cast<char*>(arg.c_str()));
    args.push_back(nullptr);
    execvp(args[0], args.data());
    fail(args[0]);
    _exit(127);
}

std::string process_name(pid_t pid) {
    std::ifstream file("/proc/" + std::to_string(pid) + "/comm");
    std::string name;
    std::getline(file, name);
    return name;
}

// Our children that no Child owns, as /proc tells; those that are dead already are reaped.
std::vector<pid_t> unowned_children() {
    std::vector<pid_t> found;
    DIR* proc = opendir("/proc");
    if (proc == nullptr) throw std::runtime_error("/proc is needed to look for left processes");
    while (dirent* entry = readdir(proc)) {
        pid_t pid = atoi(entry->d_name);
        if (pid <= 0 || owned().contains(pid)) continue;
        std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
        std::string line;
        std::getline(file, line);
        size_t end = line.rfind(')');
        if (end == std::string::npos) continue;
        char state = 0;
        pid_t parent = 0;
        std::istringstream(line.substr(end + 1)) >> state >> parent;
        if (parent != getpid()) continue;
        if (waitpid(pid, nullptr, WNOHANG) == pid) continue;
        found.push_back(pid);
    }
    closedir(proc);
    return found;
}

}  // namespace

std::string Outcome::describe() const {
    std::ostringstream text;
    if (timed_out) {
        text << "timed out";
    } else if (code < 0) {
        text << "ended by signal " << signal;
    } else {
        text << "exit code " << code;
    }
    text << " after " << seconds << " s\nstdout: " << out.substr(0, 4000)
         << "\nstderr: " << err.substr(0, 4000) << "\n";
    return text.str();
}

Child::Child(const std::vector<std::string>& argv, const Options& options) : timeout_(options.timeout) {
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    int in = temporary_file("stdin", options.input);
    out_ = temporary_file("stdout");
    err_ = temporary_file("stderr");
    started_ = std::chrono::steady_clock::now();
    pid_ = fork();
    if (pid_ == 0) become(argv, options, in, out_, err_);
    close(in);
    if (pid_ < 0) throw std::system_error(errno, std::generic_category(), "fork");
    setpgid(pid_, pid_);  // here too: whoever comes first
    owned().insert(pid_);
}

Child::~Child() {
    if (!outcome_) {
        kill_group(SIGKILL);
        reap(true);
    }
    close(out_);
    close(err_);
}

void Child::kill(int signal) const {
    if (!outcome_) ::kill(pid_, signal);
}

void Child::kill_group(int signal) const { ::kill(-pid_, signal); }

bool Child::running() { return !reap(false); }

bool Child::reap(bool block) {
    if (outcome_) return true;
    int status = 0;
    rusage usage{};
    pid_t pid;
    do {
        pid = wait4(pid_, &status, block ? 0 : WNOHANG, &usage);
    } while (pid < 0 && errno == EINTR);
    if (pid != pid_) return false;
    owned().erase(pid_);
    Outcome outcome;
    outcome.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - started_).count();
    if (WIFEXITED(status)) {
        outcome.code = WEXITSTATUS(status);
    } else {
        outcome.signal = WTERMSIG(status);
    }
    outcome.out = contents(out_);
    outcome.err = contents(err_);
    outcome.peak_rss_bytes = static_cast<uint64_t>(usage.ru_maxrss) * 1024;
    outcome_ = std::move(outcome);
    return true;
}

Outcome Child::wait() {
    bool timed_out = false;
    if (!outcome_) {
        int pidfd = static_cast<int>(syscall(SYS_pidfd_open, pid_, 0));
        pollfd ended{pidfd, POLLIN, 0};
        auto left = std::chrono::duration_cast<std::chrono::milliseconds>(started_ + timeout_ -
                                                                          std::chrono::steady_clock::now());
        timed_out = poll(&ended, 1, static_cast<int>(std::max<long>(left.count(), 0))) == 0;
        close(pidfd);
        if (timed_out) kill_group(SIGKILL);
        reap(true);
        outcome_->timed_out = timed_out;
    }
    return *outcome_;
}

Outcome run(const std::vector<std::string>& argv, const Options& options) {
    return Child(argv, options).wait();
}

std::vector<std::string> strays(std::chrono::milliseconds grace) {
    auto deadline = std::chrono::steady_clock::now() + grace;
    std::vector<pid_t> pids = unowned_children();
    while (!pids.empty() && std::chrono::steady_clock::now() < deadline) {
        usleep(20'000);
        pids = unowned_children();
    }
    std::vector<std::string> names;
    for (pid_t pid : pids) {
        names.push_back(std::to_string(pid) + " " + process_name(pid));
        ::kill(pid, SIGKILL);
        waitpid(pid, nullptr, 0);
    }
    return names;
}

bool have_program(const std::string& name) {
    std::istringstream path(std::string(getenv("PATH") ? getenv("PATH") : "") + ":/usr/sbin:/sbin");
    for (std::string directory; std::getline(path, directory, ':');) {
        if (access((directory + "/" + name).c_str(), X_OK) == 0) return true;
    }
    return false;
}

}  // namespace inspect::test
