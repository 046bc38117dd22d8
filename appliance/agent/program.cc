// SPDX-License-Identifier: GPL-2.0-or-later
#include "program.h"

#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <csignal>
#include <cstring>
#include <memory>
#include <string_view>

#include "base/fd.h"
#include "failure.h"
#include "machine.h"

namespace inspect::agent {

namespace {

constexpr size_t kStackSize = 64 << 10;
constexpr mode_t kUsualUmask = 022;
constexpr int kPatienceMs = 2000;  // between SIGTERM and SIGKILL
constexpr int kLookEveryMs = 5;

// What the new process works from. It shares our memory, and we wait until it has become the program, so it
// may read all of this, and its report is ours to read. (As posix_spawn() does it, which knows no chroot.)
struct Launch {
    const Program& program;
    std::vector<char*> argv;
    std::vector<char*> environment;
    std::vector<std::string> candidates;  // what the program's name may mean
    const char* failed_step = nullptr;
    int errnum = 0;

    // Notes what failed; for `return failed(...)`.
    bool failed(const char* step) {
        failed_step = step;
        errnum = errno;
        return false;
    }
};

// A guest need not have all of these directories.
bool is_missing(int errnum) { return errnum == ENOENT || errnum == ENOTDIR; }

// Attaches a mount that was taken from outside to a directory of the tree that we are in.
bool attach(int mount, const char* directory) {
    return ::move_mount(mount, "", AT_FDCWD, directory, MOVE_MOUNT_F_EMPTY_PATH) == 0 || is_missing(errno);
}

bool mount_in_tree(const char* type, const char* directory, const char* options) {
    return ::mount(type, directory, type, MS_NOSUID | MS_NODEV, options) == 0 || is_missing(errno);
}

bool enter_tree(Launch& launch) {
    constexpr unsigned kCopy = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE;
    int devices = ::open_tree(AT_FDCWD, "/dev", kCopy);
    int system = ::open_tree(AT_FDCWD, "/sys", kCopy);
    if (devices < 0 || system < 0) return launch.failed("get at /dev and /sys");
    // From here on the kernel resolves every path inside the guest's tree.
    if (::chroot(kSysroot) < 0 || ::chdir("/") < 0) return launch.failed("enter the guest's tree");
    bool surrounded = attach(devices, "/dev") && attach(system, "/sys") &&
                      mount_in_tree("proc", "/proc", nullptr) && mount_in_tree("tmpfs", "/tmp", "mode=1777");
    return surrounded || launch.failed("prepare the guest's tree");
}

bool arrange_mounts(Launch& launch) {
    const Program& program = launch.program;
    if (program.tree.empty()) return true;
    if (program.tree != kSysroot &&
        ::mount(program.tree.c_str(), kSysroot, nullptr, MS_BIND | MS_REC, nullptr) < 0)
        return launch.failed("bring the guest's tree to /sysroot");
    mount_attr attributes{};
    attributes.attr_clr = MOUNT_ATTR_NOEXEC | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV;
    if (::mount_setattr(AT_FDCWD, kSysroot, AT_RECURSIVE, &attributes, sizeof attributes) < 0)
        return launch.failed("allow programs of the guest's tree");
    return !program.chroot || enter_tree(launch);
}

bool arrange_process(Launch& launch) {
    const Program& program = launch.program;
    ::signal(SIGPIPE, SIG_DFL);
    sigset_t none;
    ::sigemptyset(&none);
    ::sigprocmask(SIG_SETMASK, &none, nullptr);
    ::umask(kUsualUmask);
    ::setsid();
    if (program.terminal && ::ioctl(program.input, TIOCSCTTY, 0) < 0)
        return launch.failed("take the terminal");
    if (::dup2(program.input, STDIN_FILENO) < 0 || ::dup2(program.output, STDOUT_FILENO) < 0 ||
        ::dup2(program.errors, STDERR_FILENO) < 0)
        return launch.failed("connect its output");
    return true;
}

// Becomes the program, or tells why not.
bool become(Launch& launch) {
    if (::chdir(launch.program.directory.c_str()) < 0) return launch.failed("change to the directory");
    int denied = 0;
    for (const std::string& path : launch.candidates) {
        ::execve(path.c_str(), launch.argv.data(), launch.environment.data());
        if (errno == EACCES) denied = errno;
        if (errno != EACCES && !is_missing(errno)) return launch.failed("run");
    }
    errno = denied ? denied : ENOENT;
    return launch.failed("run");
}

int in_new_process(void* argument) {
    Launch& launch = *static_cast<Launch*>(argument);
    if (launch.program.contained && !arrange_mounts(launch)) return 127;
    if (!arrange_process(launch)) return 127;
    become(launch);
    return 127;
}

std::vector<char*> pointers(const std::vector<std::string>& strings) {
    std::vector<char*> all;
    for (const std::string& text : strings) all.push_back(const_cast<char*>(text.c_str()));
    all.push_back(nullptr);
    return all;
}

// A name with a slash is a path; others are looked for in the PATH that the program will have.
std::vector<std::string> candidates(const Program& program) {
    const std::string& name = program.arguments[0];
    if (name.find('/') != name.npos) return {name};
    std::string_view path;
    for (const std::string& variable : program.environment) {
        if (variable.starts_with("PATH=")) path = std::string_view(variable).substr(5);
    }
    std::vector<std::string> all;
    while (!path.empty()) {
        size_t end = std::min(path.find(':'), path.size());
        if (end > 0) all.push_back(std::string(path.substr(0, end)) + "/" + name);
        path.remove_prefix(std::min(end + 1, path.size()));
    }
    return all;
}

// The mount namespace of a process, "mnt:[4026531840]"; empty when there is no such process, it is dead, or
// it is a kernel's thread (devtmpfs' has a namespace of its own), which has no program.
std::string namespace_of(const std::string& process) {
    char target[64];
    if (::readlink(("/proc/" + process + "/exe").c_str(), target, sizeof target) < 0) return {};
    ssize_t size = ::readlink(("/proc/" + process + "/ns/mnt").c_str(), target, sizeof target);
    return size > 0 ? std::string(target, static_cast<size_t>(size)) : std::string();
}

// Sends the signal to every process in another mount namespace than ours. True when there was one.
bool signal_left_behind(const std::string& ours, int signal) {
    DIR* processes = ::opendir("/proc");
    if (!processes) return false;
    bool any = false;
    while (const dirent* entry = ::readdir(processes)) {
        if (entry->d_name[0] < '1' || entry->d_name[0] > '9') continue;
        std::string theirs = namespace_of(entry->d_name);
        if (theirs.empty() || theirs == ours) continue;
        any = true;
        ::kill(static_cast<pid_t>(::atoi(entry->d_name)), signal);
    }
    ::closedir(processes);
    // Orphans are ours.
    while (::waitpid(-1, nullptr, WNOHANG) > 0) {
    }
    return any;
}

}  // namespace

StartedProgram start_program(const Program& program) {
    Launch launch{program, pointers(program.arguments), pointers(program.environment), candidates(program)};
    auto stack = std::make_unique<std::byte[]>(kStackSize);
    int flags = CLONE_VM | CLONE_VFORK | SIGCHLD | (program.contained ? CLONE_NEWNS : 0);
    pid_t pid = ::clone(in_new_process, stack.get() + kStackSize, flags, &launch);
    if (pid < 0)
        throw Failure(proto::ENGINE, "cannot start a process in the appliance: " + errno_text(errno), errno);
    if (!launch.failed_step) return {.pid = pid};
    while (::waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {
    }
    return {.failed_step = launch.failed_step, .errnum = launch.errnum};
}

void end_left_behind() {
    std::string ours = namespace_of("self");
    if (ours.empty() || !signal_left_behind(ours, SIGTERM)) return;
    for (int waited = 0; waited < kPatienceMs; waited += kLookEveryMs) {
        if (!signal_left_behind(ours, 0)) return;
        ::usleep(kLookEveryMs * 1000);
    }
    while (signal_left_behind(ours, SIGKILL)) ::usleep(kLookEveryMs * 1000);
}

}  // namespace inspect::agent
