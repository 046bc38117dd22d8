// SPDX-License-Identifier: LGPL-2.1-or-later
#include "vmm/sandbox.h"

#include <linux/capability.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <vector>

#include <inspect/error.h>

#include "vmm/seccomp_filter.h"

namespace inspect {

namespace {

void drop_capabilities() {
    __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    __user_cap_data_struct none[2] = {};
    ::syscall(SYS_capset, &header, none);
}

void limit(__rlimit_resource resource, rlim_t value) {
    const rlimit both = {value, value};
    ::setrlimit(resource, &both);
}

}  // namespace

void close_all_but(std::span<const int> keep) {
    std::vector<unsigned> sorted = {0, 1, 2};
    for (int fd : keep) {
        if (fd >= 0) sorted.push_back(static_cast<unsigned>(fd));
    }
    std::ranges::sort(sorted);
    for (size_t i = 0; i < sorted.size(); ++i) {
        const unsigned first = sorted[i] + 1, last = i + 1 < sorted.size() ? sorted[i + 1] - 1 : ~0u;
        if (first <= last) ::close_range(first, last, 0);
    }
}

// No network namespace: making one takes longer than all of the rest of a warm start, and waits, a second at
// times, while the kernel takes earlier ones apart (docs/vmm.md). It would take away what the filter does not
// let the process have: it can make no socket.
//
// No mount namespace: it would be a copy of the host's, in which everything stays mounted that is unmounted
// there while this process runs. A tree of another `insp mount` would never end then, nor would a USB stick.
// To unmount all of it in here takes tens of milliseconds on a busy host, and what is left to be kept away
// from the host's mounts is a process that can't open anything, below a directory that is empty.
void leave_namespaces(unsigned max_fds) {
    if (::unshare(CLONE_NEWUSER | CLONE_NEWIPC) == 0) {
        // A directory in which nothing can be created and that holds nothing but numbers. Nothing can be
        // opened later anyway.
        if (::chroot("/proc/self/fdinfo") == 0) [[maybe_unused]]
            int ignored = ::chdir("/");
    }
    drop_capabilities();
    limit(RLIMIT_CORE, 0);
    limit(RLIMIT_NOFILE, max_fds);
    ::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
}

void lock_down() {
    if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        throw Error::from_errno(ErrorKind::kEngine, "cannot give up privileges", errno);
    auto filter = vmm_seccomp_filter();
    const sock_fprog program = {static_cast<unsigned short>(filter.size()), filter.data()};
    if (::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program) != 0)
        throw Error::from_errno(ErrorKind::kEngine, "cannot set the system call filter", errno);
}

}  // namespace inspect
