// SPDX-License-Identifier: GPL-2.0-or-later
//
// insp mount: the guest's tree on a directory of the host.
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <fstream>

#include <inspect/host_mount.h>

#include "cli/guest.h"
#include "commands.h"

namespace inspect::cli {
namespace {

constexpr Option kOptions[] = {
    {'i', "inspector", Takes::kNothing, "",
     "mount the operating system as its fstab says; what is done anyway"},
    {'o', "", Takes::kValue, "OPTION[,OPTION...]", "options for FUSE: allow_other, default_permissions..."},
    {0, "subdir", Takes::kValue, "DIR", "show this directory of the guest"},
    {'f', "foreground", Takes::kNothing, "", "stay in the foreground", "no-fork"},
    {0, "pid-file", Takes::kValue, "FILE", "write the process's number to this file once it is mounted", "",
     "<file>"},
};

std::vector<std::string> fuse_options(const Arguments& args) {
    std::vector<std::string> result;
    for (const std::string& list : args.values("o")) {
        for (size_t at = 0; at <= list.size();) {
            size_t end = std::min(list.find(',', at), list.size());
            if (end > at) result.push_back(list.substr(at, end - at));
            at = end + 1;
        }
    }
    return result;
}

// The process that stays: its parent waits until the tree is mounted, or for its failure.
class Background {
  public:
    // In the child it returns; the parent ends in here, with the child's exit code.
    Background() {
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

    // The parent may end; from here on nobody reads what is printed.
    void detach() {
        prctl(PR_SET_PDEATHSIG, 0);
        setsid();
        if (chdir("/") != 0) throw Error::from_errno("cannot go to /", errno);
        int null = ::open("/dev/null", O_RDWR | O_CLOEXEC);
        for (int fd = 0; fd <= 2; ++fd) dup2(null, fd);
        ::close(null);
        [[maybe_unused]] ssize_t written = ::write(ready_, "", 1);
        ::close(ready_);
    }

  private:
    static int wait_for(pid_t child, int ready) {
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

    int ready_ = -1;
};

void write_pid_file(const std::string& path) {
    std::ofstream file(path, std::ios::trunc);
    file << getpid() << "\n";
    if (!file.flush()) throw Error(ErrorKind::kDenied, "cannot write '" + path + "'");
}

std::string absolute(const std::string& path) {
    if (path.empty() || path[0] == '/') return path;
    std::string directory(PATH_MAX, '\0');
    if (!getcwd(directory.data(), directory.size()))
        throw Error::from_errno("cannot tell where this is", errno);
    return directory.substr(0, directory.find('\0')) + "/" + path;
}

int run_mount(Context& context) {
    const Arguments& args = context.args;
    if (args.has("ro") && args.has("rw")) throw UsageError("--ro and --rw can't be used together");
    if (args.has("inspector") && args.has("mount"))
        throw UsageError("-i mounts the operating system, -m mounts without one: give one of them");
    HostMountOptions options;
    options.directory = args.operands()[0];
    options.subdirectory = args.value("subdir").value_or("/");
    if (!options.subdirectory.starts_with('/')) options.subdirectory = "/" + options.subdirectory;
    options.fuse_options = fuse_options(args);
    const std::string pid_file = args.has("pid-file") ? absolute(*args.value("pid-file")) : "";

    std::optional<Background> background;
    if (!args.has("foreground")) background.emplace();
    Guest guest(context, args.has("ro") ? Access::kRead : Access::kChange);
    guest.mount();
    options.stop_fd = guest.stop_fd();
    options.on_mounted = [&] {
        guest.serve_until_stopped();
        if (!pid_file.empty()) write_pid_file(pid_file);
        if (background) background->detach();
    };
    bool changed = mount_on_host(guest.call("mount_on_host", {options.directory}), options);
    if (!pid_file.empty()) ::unlink(pid_file.c_str());
    context.note(changed ? "the changes are in the images" : "nothing changed in the images");
    return kExitSuccess;
}

}  // namespace

constexpr Command kMountCommand = {
    .name = "mount",
    .summary = "show the guest's files on a directory of the host",
    .operands = "DIRECTORY",
    .description =
        "Mounts the guest on an empty directory, by FUSE: no root is needed, and the\n"
        "host's kernel never sees the guest's file systems. What is changed there\n"
        "reaches the images when it is unmounted, by 'insp umount': all of it or, if\n"
        "the process is killed, nothing. It goes to the background once the tree is there.",
    .examples =
        "insp mount -a disk.qcow2 --ro ./guest\n"
        "insp mount -a disk.qcow2 -m /dev/sda1 ./guest && cp file ./guest/root/ && insp umount ./guest",
    .options = kOptions,
    .shared_options = kDiskOptions | kMountOptions,
    .min_operands = 1,
    .max_operands = 1,
    .host_operands = HostOperands::kAll,
    .run = run_mount,
};

}  // namespace inspect::cli
