// SPDX-License-Identifier: GPL-2.0-or-later
#include "cli/background.h"

#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <fstream>

#include "cli/signals.h"

namespace inspect::cli {

namespace {

std::vector<std::string> fuse_options(const Arguments& args) {
    std::vector<std::string> result;
    for (const std::string& list : args.values("option")) {
        for (size_t at = 0; at <= list.size();) {
            size_t end = std::min(list.find(',', at), list.size());
            if (end > at) result.push_back(list.substr(at, end - at));
            at = end + 1;
        }
    }
    return result;
}

int wait_for(pid_t child, int ready) {
    char byte;
    ssize_t count;
    do {
        count = ::read(ready, &byte, 1);
    } while (count < 0 && errno == EINTR);
    if (count == 1) return kExitSuccess;
    int status = 0;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    if (WIFEXITED(status)) return WEXITSTATUS(status);
    die_by_signal(WTERMSIG(status));
}

void write_pid_file(const std::string& path) {
    std::ofstream file(path, std::ios::trunc);
    file << getpid() << "\n";
    if (!file.flush()) throw Error(ErrorKind::kDenied, "cannot write '" + path + "'");
}

pid_t pid_in(const std::string& path) {
    pid_t pid = -1;
    std::ifstream(path) >> pid;
    return pid;
}

std::string absolute(const std::string& path) {
    if (path.empty() || path[0] == '/') return path;
    std::string directory(PATH_MAX, '\0');
    if (!getcwd(directory.data(), directory.size()))
        throw Error::from_errno("cannot tell where this is", errno);
    return directory.substr(0, directory.find('\0')) + "/" + path;
}

}  // namespace

Background::Background() {
    int fds[2];
    if (pipe2(fds, O_CLOEXEC) != 0) throw Error::from_errno("cannot make a pipe", errno);
    pid_t parent = getpid();
    pid_t child = fork();
    if (child < 0) throw Error::from_errno("cannot start a process", errno);
    if (child > 0) {
        ::close(fds[1]);
        _exit(wait_for(child, fds[0]));
    }
    ::close(fds[0]);
    ready_ = fds[1];
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent) raise(SIGTERM);
}

void Background::detach() {
    prctl(PR_SET_PDEATHSIG, 0);
    setsid();
    if (chdir("/") != 0) throw Error::from_errno("cannot go to /", errno);
    int null = ::open("/dev/null", O_RDWR | O_CLOEXEC);
    for (int fd = 0; fd <= 2; ++fd) dup2(null, fd);
    ::close(null);
    [[maybe_unused]] ssize_t written = ::write(ready_, "", 1);
    ::close(ready_);
}

MountProcess::MountProcess(const Arguments& arguments) {
    if (const auto file = arguments.value("pid-file")) pid_file_ = absolute(*file);
    if (!arguments.has("foreground")) background_.emplace();
}

MountProcess::~MountProcess() {
    // Somebody may have put another file there.
    if (pid_file_written_ && pid_in(pid_file_) == getpid()) ::unlink(pid_file_.c_str());
}

void MountProcess::mounted() {
    if (!pid_file_.empty()) {
        write_pid_file(pid_file_);
        pid_file_written_ = true;
    }
    if (background_) background_->detach();
}

HostMountOptions host_mount_options(const Arguments& arguments, const std::string& directory) {
    HostMountOptions options;
    options.directory = directory;
    options.fuse_options = fuse_options(arguments);
    return options;
}

}  // namespace inspect::cli
