// SPDX-License-Identifier: LGPL-2.1-or-later
//
// insp-vmm as a process: its arguments, what it says, what it has given up, how it ends.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "engine/vmm_process.h"
#include "vmm/guest_memory.h"
#include "vmm/tiny_guest_for_test.h"
#include "vmm/vmm_sanitizer_for_test.h"

namespace inspect {
namespace {

using namespace tiny_guest;

class InspVmmTest : public testing::Test {
  protected:
    void SetUp() override {
        kvm.reset(::open("/dev/kvm", O_RDWR));
        if (!kvm) GTEST_SKIP() << "/dev/kvm cannot be opened: " << std::strerror(errno);
        status_fd.reset(::memfd_create("status", 0));
        ASSERT_EQ(::ftruncate(status_fd.get(), sizeof(VmmStatus)), 0);
        page = Mapping::shared(status_fd.get(), sizeof(VmmStatus), "status");
    }
    void TearDown() override {
        if (pid <= 0) return;
        ::kill(pid, SIGKILL);
        ::waitpid(pid, nullptr, 0);
    }
    const VmmStatus& status() const { return *reinterpret_cast<const VmmStatus*>(page.data()); }

    void start(std::vector<std::string> arguments) {
        int channels[2], controls[2];
        ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM, 0, channels), 0);
        ASSERT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET, 0, controls), 0);
        arguments.insert(
            arguments.begin(),
            {"insp-vmm", "--kvm=" + std::to_string(kvm.get()), "--channel=" + std::to_string(channels[1]),
             "--control=" + std::to_string(controls[1]), "--status=" + std::to_string(status_fd.get()),
             "--software-kvm"});
        if (kUnderSanitizers) arguments.push_back("--no-sandbox");
        std::vector<char*> argv;
        for (std::string& argument : arguments) argv.push_back(argument.data());
        argv.push_back(nullptr);
        pid = ::fork();
        if (pid == 0) {
            ::close(channels[0]);
            ::close(controls[0]);
            ::execv(INSP_VMM_PROGRAM, argv.data());
            ::_exit(99);
        }
        channel.reset(channels[0]);
        control.reset(controls[0]);
        ::close(channels[1]);
        ::close(controls[1]);
    }
    std::vector<std::string> boot_arguments(const Code& code) {
        kernel = kernel_of(code);
        ::fcntl(kernel.get(), F_SETFD, 0);
        return {"--kernel=" + std::to_string(kernel.get()), "--memory=16777216", "--slots=1"};
    }
    std::string packet() {
        pollfd wait = {control.get(), POLLIN, 0};
        if (::poll(&wait, 1, 20000) != 1) return "nothing";
        char text[1000];
        const ssize_t n = ::recv(control.get(), text, sizeof text, 0);
        return n <= 0 ? "end" : std::string(text, static_cast<size_t>(n));
    }
    // The exit status, or minus the signal.
    int wait() {
        int how = 0;
        ::waitpid(pid, &how, 0);
        pid = -1;
        return WIFEXITED(how) ? WEXITSTATUS(how) : -WTERMSIG(how);
    }

    Fd kvm, status_fd, channel, control, kernel;
    Mapping page;
    pid_t pid = -1;
};

TEST_F(InspVmmTest, RunsAndStops) {
    start(boot_arguments(kForever));
    EXPECT_EQ(packet(), "ready");
    EXPECT_EQ(::send(control.get(), "stop", 4, 0), 4);
    EXPECT_EQ(packet(), "ok");
    EXPECT_EQ(wait(), 0);
    EXPECT_EQ(status().end, VmmEnd::kStopped);
    EXPECT_EQ(status().version, VmmStatus::kVersion);
    EXPECT_GT(status().setup_ns, 0u);
}

TEST_F(InspVmmTest, HasGivenUpItsRights) {
    INSP_SKIP_UNDER_SANITIZERS();
    start(boot_arguments(kForever));
    ASSERT_EQ(packet(), "ready");
    int threads = 0;
    for (const auto& task : std::filesystem::directory_iterator("/proc/" + std::to_string(pid) + "/task")) {
        std::ifstream file(task.path() / "status");
        std::stringstream text;
        text << file.rdbuf();
        EXPECT_NE(text.str().find("Seccomp:\t2"), std::string::npos) << text.str();
        EXPECT_NE(text.str().find("NoNewPrivs:\t1"), std::string::npos);
        EXPECT_NE(text.str().find("CapEff:\t0000000000000000"), std::string::npos);
        ++threads;
    }
    EXPECT_GE(threads, 2);
}

TEST_F(InspVmmTest, EndsWithItsEngine) {
    for (Fd* socket : {&channel, &control}) {
        SetUp();
        start(boot_arguments(kForever));
        ASSERT_EQ(packet(), "ready");
        socket->reset();
        EXPECT_EQ(wait(), 0);
    }
}

TEST_F(InspVmmTest, AGuestsEndIsAnError) {
    start(boot_arguments(out(kEventPort, 1)));
    EXPECT_EQ(packet(), "ready");
    EXPECT_EQ(packet(), "end");
    EXPECT_EQ(wait(), 1);
    EXPECT_EQ(status().end, VmmEnd::kGuestPanic);
}

TEST_F(InspVmmTest, TellsWhatIsWrongBeforeItRuns) {
    start({"--kernel=" + std::to_string(status_fd.get()), "--memory=16777216", "--slots=1"});
    EXPECT_EQ(packet().substr(0, 50), "error the appliance's kernel cannot be loaded: it ");
    EXPECT_EQ(wait(), 1);
    EXPECT_EQ(status().end, VmmEnd::kHostError);
    EXPECT_NE(std::string(status().message), "");
}

TEST_F(InspVmmTest, TellsABadSnapshotApart) {
    const std::string fd = std::to_string(status_fd.get());
    start({"--restore-state=" + fd, "--restore-memory=" + fd, "--memory=16777216", "--slots=1"});
    EXPECT_EQ(packet(), "error snapshot: the snapshot's state file is something else");
    EXPECT_EQ(wait(), 1);
}

TEST_F(InspVmmTest, WrongArgumentsEndItWithTwo) {
    start({"--bogus"});
    EXPECT_EQ(packet(), "end");
    EXPECT_EQ(wait(), 2);
}

}  // namespace
}  // namespace inspect
