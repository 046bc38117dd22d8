// SPDX-License-Identifier: LGPL-2.1-or-later
//
// insp-vmm without a virtual machine: disks served by NBD, under the sandbox. Needs no KVM.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <sstream>

#include <inspect/error.h>

#include "block/nbd_device.h"
#include "engine/vmm_process.h"
#include "vmm/guest_memory.h"
#include "vmm/vmm_sanitizer_for_test.h"

namespace inspect {
namespace {

constexpr uint64_t kSize = (1 << 20) + 100;  // no whole number of blocks

class InspVmmDisksTest : public testing::Test {
  protected:
    void SetUp() override {
        status_fd.reset(::memfd_create("status", 0));
        ASSERT_EQ(::ftruncate(status_fd.get(), sizeof(VmmStatus)), 0);
        page = Mapping::shared(status_fd.get(), sizeof(VmmStatus), "status");
        image.reset(::memfd_create("image", 0));
        ASSERT_EQ(::ftruncate(image.get(), kSize), 0);
        pwrite_full(image.get(), std::as_bytes(std::span("image")), 0, "test");
    }
    void TearDown() override {
        if (pid <= 0) return;
        ::kill(pid, SIGKILL);
        ::waitpid(pid, nullptr, 0);
    }
    const VmmStatus& status() const { return *reinterpret_cast<const VmmStatus*>(page.data()); }

    // `node`: a DiskNode's text on the image's descriptor.
    void start(const std::string& node) {
        auto [our_control, their_control] = make_socket_pair(SOCK_SEQPACKET);
        auto [our_nbd, their_nbd] = make_socket_pair(SOCK_STREAM);
        for (Fd* fd : {&their_control, &their_nbd}) ::fcntl(fd->get(), F_SETFD, 0);
        std::vector<std::string> arguments = {
            "insp-vmm", "--control=" + std::to_string(their_control.get()),
            "--status=" + std::to_string(status_fd.get()),
            "--disk=serial=x,nbd=" + std::to_string(their_nbd.get()) + ",node=" + node};
        if (kUnderSanitizers) arguments.push_back("--no-sandbox");
        std::vector<char*> argv;
        for (std::string& argument : arguments) argv.push_back(argument.data());
        argv.push_back(nullptr);
        pid = ::fork();
        if (pid == 0) {
            ::execv(INSP_VMM_PROGRAM, argv.data());
            ::_exit(99);
        }
        control = std::move(our_control);
        nbd = std::move(our_nbd);
    }
    std::string raw(bool writable) const {
        return "raw(fd=" + std::to_string(image.get()) + ",name=image" + (writable ? ",writable" : "") + ")";
    }
    std::string packet() {
        pollfd wait = {control.get(), POLLIN, 0};
        if (::poll(&wait, 1, 20000) != 1) return "nothing";
        char text[1000];
        const ssize_t n = ::recv(control.get(), text, sizeof text, 0);
        return n <= 0 ? "end" : std::string(text, static_cast<size_t>(n));
    }
    std::string ask(const std::string& request) {
        EXPECT_EQ(::send(control.get(), request.data(), request.size(), MSG_NOSIGNAL),
                  static_cast<ssize_t>(request.size()));
        return packet();
    }
    // The exit status, or minus the signal.
    int wait() {
        int how = 0;
        ::waitpid(pid, &how, 0);
        pid = -1;
        return WIFEXITED(how) ? WEXITSTATUS(how) : -WTERMSIG(how);
    }

    Fd status_fd, image, control, nbd;
    Mapping page;
    pid_t pid = -1;
};

TEST_F(InspVmmDisksTest, ServesWholeBlocksAndStops) {
    start(raw(false));
    ASSERT_EQ(packet(), "ready");
    {
        NbdDevice disk(std::move(nbd), "", {.read_only = true});
        EXPECT_EQ(disk.size(), (1u << 20) + 512);
        std::vector<std::byte> block(512);
        disk.read(0, block);
        EXPECT_EQ(std::string(reinterpret_cast<const char*>(block.data())), "image");
        disk.read(1 << 20, block);
        disk.extents(0, disk.size());
    }
    EXPECT_EQ(ask("attach"), "error unknown request");
    EXPECT_EQ(ask("stop"), "ok");
    EXPECT_EQ(wait(), 0);
    EXPECT_EQ(status().end, VmmEnd::kStopped);
    EXPECT_EQ(status().block_bytes_read, 1024u);
}

TEST_F(InspVmmDisksTest, StopsWithAClientThatStays) {
    start(raw(false));
    ASSERT_EQ(packet(), "ready");
    NbdDevice disk(std::move(nbd), "", {.read_only = true});
    EXPECT_EQ(ask("stop"), "ok");
    EXPECT_EQ(wait(), 0);
    std::vector<std::byte> block(512);
    EXPECT_THROW(disk.read(0, block), Error);
}

TEST_F(InspVmmDisksTest, GarbageEndsTheConnectionAlone) {
    start(raw(false));
    ASSERT_EQ(packet(), "ready");
    const std::string garbage(100'000, '\xff');
    ::send(nbd.get(), garbage.data(), garbage.size(), MSG_NOSIGNAL);
    EXPECT_EQ(ask("stop"), "ok");
    EXPECT_EQ(wait(), 0);
}

TEST_F(InspVmmDisksTest, HasGivenUpItsRights) {
    INSP_SKIP_UNDER_SANITIZERS();
    start(raw(false));
    ASSERT_EQ(packet(), "ready");
    std::ifstream file("/proc/" + std::to_string(pid) + "/status");
    std::stringstream text;
    text << file.rdbuf();
    EXPECT_NE(text.str().find("Seccomp:\t2"), std::string::npos) << text.str();
    EXPECT_NE(text.str().find("NoNewPrivs:\t1"), std::string::npos);
}

TEST_F(InspVmmDisksTest, EndsWithItsEngine) {
    start(raw(false));
    ASSERT_EQ(packet(), "ready");
    control.reset();
    EXPECT_EQ(wait(), 0);
}

TEST_F(InspVmmDisksTest, TellsWhyAnImageCannotBeOpened) {
    start("qcow2(file=" + raw(false) + ")");
    EXPECT_EQ(packet().substr(0, 6), "error ");
    EXPECT_EQ(wait(), 1);
    EXPECT_EQ(status().end, VmmEnd::kHostError);
}

}  // namespace
}  // namespace inspect
