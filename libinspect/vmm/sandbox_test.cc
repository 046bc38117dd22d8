// SPDX-License-Identifier: LGPL-2.1-or-later
#include "vmm/sandbox.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/kvm.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <functional>
#include <thread>

#include "base/fd.h"
#include "vmm/vmm_sanitizer_for_test.h"

namespace inspect {
namespace {

// What becomes of a process that does this after lock_down(): waitpid's status.
int outcome(const std::function<void()>& act) {
    const pid_t pid = ::fork();
    if (pid == 0) {
        lock_down();
        act();
        ::_exit(0);
    }
    int status = -1;
    ::waitpid(pid, &status, 0);
    return status;
}

struct Forbidden {
    const char* name;
    std::function<void()> act;
};

class ForbiddenCall : public testing::TestWithParam<Forbidden> {};

TEST_P(ForbiddenCall, IsFatal) {
    const int status = outcome(GetParam().act);
    ASSERT_TRUE(WIFSIGNALED(status)) << status;
    EXPECT_EQ(WTERMSIG(status), SIGSYS);
}

INSTANTIATE_TEST_SUITE_P(
    All, ForbiddenCall,
    testing::Values(Forbidden{"Socket", [] { ::socket(AF_INET, SOCK_STREAM, 0); }},
                    Forbidden{"Open", [] { ::open("/etc/passwd", O_RDONLY); }},
                    Forbidden{"OpenOld", [] { ::syscall(SYS_open, "/etc/passwd", O_RDONLY); }},
                    Forbidden{"Unlink", [] { ::unlink("/nonexistent"); }},
                    Forbidden{"Execve", [] { ::execl("/bin/true", "true", nullptr); }},
                    Forbidden{"Fork", [] { ::syscall(SYS_fork); }},
                    Forbidden{"Clone3", [] { ::syscall(SYS_clone3, nullptr, 0); }},
                    Forbidden{"Ptrace", [] { ::syscall(SYS_ptrace, 0, 0, 0, 0); }},
                    Forbidden{"Prctl", [] { ::syscall(SYS_prctl, 0, 0, 0, 0, 0); }},
                    Forbidden{"Kill", [] { ::kill(1, 0); }}, Forbidden{"Dup", [] { ::syscall(SYS_dup, 0); }},
                    Forbidden{"IoUring", [] { ::syscall(SYS_io_uring_setup, 1, nullptr); }},
                    Forbidden{"X32Read", [] { ::syscall(0x40000000 | SYS_read, 0, nullptr, 0); }},
                    Forbidden{"CreateVm", [] { ::ioctl(-1, KVM_CREATE_VM, 0); }},
                    Forbidden{"MemorySlot", [] { ::ioctl(-1, KVM_SET_USER_MEMORY_REGION, nullptr); }},
                    Forbidden{"TerminalInput", [] { ::ioctl(-1, 0x5412, nullptr); }},  // TIOCSTI
                    Forbidden{"MmapExec",
                              [] {
                                  ::mmap(nullptr, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS,
                                         -1, 0);
                              }},
                    Forbidden{"MprotectExec", [] { ::mprotect(nullptr, 4096, PROT_READ | PROT_EXEC); }}),
    [](const auto& each) { return each.param.name; });

TEST(Sandbox, AllowsWhatARunningVmNeeds) {
    INSP_SKIP_UNDER_SANITIZERS();
    Fd file(::memfd_create("test", MFD_CLOEXEC));
    ASSERT_EQ(::ftruncate(file.get(), 4096), 0);
    int sockets[2];
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM, 0, sockets), 0);
    const int status = outcome([&] {
        char data[100] = "x";
        bool good = ::pwrite(file.get(), data, 10, 0) == 10 && ::pread(file.get(), data, 10, 0) == 10 &&
                    ::fdatasync(file.get()) == 0 && ::fallocate(file.get(), 0, 0, 8192) == 0;
        good = good && ::send(sockets[0], data, 1, 0) == 1 && ::recv(sockets[1], data, 1, 0) == 1;
        good = good && ::ioctl(-1, KVM_RUN, 0) == -1 && errno == EBADF;
        std::vector<char> large(10u << 20);  // malloc by mmap
        large[5] = 1;
        if (!good) ::_exit(1);
    });
    EXPECT_TRUE(WIFEXITED(status)) << status;
    EXPECT_EQ(WEXITSTATUS(status), 0);
    ::close(sockets[0]);
    ::close(sockets[1]);
}

TEST(Sandbox, HoldsForAllThreads) {
    INSP_SKIP_UNDER_SANITIZERS();
    const pid_t pid = ::fork();
    if (pid == 0) {
        std::atomic<int> step{0};
        std::thread other([&] {
            step = 1;
            step.notify_one();
            step.wait(1);
            ::socket(AF_INET, SOCK_STREAM, 0);
        });
        step.wait(0);
        lock_down();
        step = 2;
        step.notify_one();
        other.join();
        ::_exit(0);
    }
    int status = -1;
    ::waitpid(pid, &status, 0);
    ASSERT_TRUE(WIFSIGNALED(status));
    EXPECT_EQ(WTERMSIG(status), SIGSYS);
}

TEST(Sandbox, ClosesOtherDescriptors) {
    const pid_t pid = ::fork();
    if (pid == 0) {
        const int keep = ::dup2(0, 50), lose = ::dup2(0, 60), low = ::dup2(0, 30);
        const int kept[] = {keep};
        close_all_but(kept);
        const bool good = ::fcntl(0, F_GETFD) >= 0 && ::fcntl(keep, F_GETFD) >= 0 &&
                          ::fcntl(lose, F_GETFD) < 0 && ::fcntl(low, F_GETFD) < 0;
        ::_exit(good ? 0 : 1);
    }
    int status = -1;
    ::waitpid(pid, &status, 0);
    EXPECT_EQ(status, 0);
}

TEST(Sandbox, NamespacesTakeTheFileSystemAway) {
    const pid_t pid = ::fork();
    if (pid == 0) {
        leave_namespaces(32);
        if (::getuid() != 65534) ::_exit(77);  // the system allows no user namespace
        ::_exit(::access("/etc/passwd", F_OK) != 0 && ::access("/proc", F_OK) != 0 ? 0 : 1);
    }
    int status = -1;
    ::waitpid(pid, &status, 0);
    ASSERT_TRUE(WIFEXITED(status));
    if (WEXITSTATUS(status) == 77) GTEST_SKIP() << "no user namespaces here";
    EXPECT_EQ(WEXITSTATUS(status), 0);
}

}  // namespace
}  // namespace inspect
