// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Whole virtual machines whose guests are a few instructions, one behaviour each. They need /dev/kvm.
#include "vmm/vm.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstring>
#include <future>
#include <thread>

#include "block/memory_device.h"
#include "vmm/io_thread.h"
#include "vmm/tiny_guest_for_test.h"

namespace inspect {
namespace {

using namespace tiny_guest;

using namespace std::chrono_literals;
class VmTest : public testing::Test {
  protected:
    void SetUp() override {
        kvm.reset(::open("/dev/kvm", O_RDWR | O_CLOEXEC));
        if (!kvm) GTEST_SKIP() << "/dev/kvm cannot be opened: " << std::strerror(errno);
        int fds[2];
        ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
        engine.reset(fds[0]);
        channel.reset(fds[1]);
        ASSERT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds), 0);
        engine_control.reset(fds[0]);
        control.reset(fds[1]);
    }
    Vm::Options options() {
        Vm::Options o;
        o.kvm = kvm.get();
        o.channel = channel.get();
        o.memory_bytes = 16u << 20;
        o.software_kvm = true;  // harmless where it isn't
        return o;
    }
    std::unique_ptr<Vm> boot(const Code& code) {
        kernel = kernel_of(code);
        Vm::Options o = options();
        o.kernel = kernel.get();
        return std::make_unique<Vm>(std::move(o), *status);
    }
    // Runs the guest until it ends by itself.
    void run(const Code& code) {
        auto vm = boot(code);
        // Whatever the guest does, the test ends.
        std::promise<void> ended;
        std::thread watchdog([&] {
            if (ended.get_future().wait_for(20s) == std::future_status::timeout) vm->stop();
        });
        vm->run(std::chrono::steady_clock::now());
        ended.set_value();
        watchdog.join();
    }
    std::string log() const {
        return std::string(status->ring, std::min<size_t>(status->ring_written, 1000));
    }
    uint64_t exits(VmmExit cause) const { return status->exits[static_cast<unsigned>(cause)]; }
    std::string ask(const std::string& text, std::initializer_list<int> fds = {}) {
        iovec iov = {const_cast<char*>(text.data()), text.size()};
        msghdr message = {};
        message.msg_iov = &iov;
        message.msg_iovlen = 1;
        alignas(cmsghdr) char ancillary[CMSG_SPACE(2 * sizeof(int))] = {};
        if (fds.size() > 0) {
            message.msg_control = ancillary;
            message.msg_controllen = CMSG_SPACE(fds.size() * sizeof(int));
            cmsghdr* header = CMSG_FIRSTHDR(&message);
            header->cmsg_level = SOL_SOCKET;
            header->cmsg_type = SCM_RIGHTS;
            header->cmsg_len = CMSG_LEN(fds.size() * sizeof(int));
            std::memcpy(CMSG_DATA(header), std::data(fds), fds.size() * sizeof(int));
        }
        EXPECT_GE(::sendmsg(engine_control.get(), &message, 0), 0);
        char answer[200];
        const ssize_t n = ::recv(engine_control.get(), answer, sizeof answer, 0);
        return n < 0 ? "nothing" : std::string(answer, static_cast<size_t>(n));
    }

    Fd kvm, engine, channel, engine_control, control, kernel;
    std::unique_ptr<VmmStatus> status = std::make_unique<VmmStatus>();
};

TEST_F(VmTest, SpeaksAndHalts) {
    run(say("hi") + kEnd);
    EXPECT_EQ(log(), "hi");
    EXPECT_EQ(status->end, VmmEnd::kGuestShutdown);
    EXPECT_EQ(exits(VmmExit::kIo), 3u);
    EXPECT_GT(status->run_ns, 0u);
}

TEST_F(VmTest, SpeaksInStrings) {
    // lea text(%rip),%rsi; mov $5,%ecx; mov $port,%dx; rep outsb
    const Code code =
        Code{0x48, 0x8d, 0x35, 12, 0, 0, 0, 0xb9, 5, 0, 0, 0, 0x66, 0xba, 0x00, 0x06, 0xf3, 0x6e, 0x90};
    run(code + Code{'h', 'e', 'l', 'l', 'o'});
    EXPECT_EQ(log().substr(0, 5), "hello");
}

TEST_F(VmTest, PanicIsTold) {
    run(out(kEventPort, 1));
    EXPECT_EQ(status->end, VmmEnd::kGuestPanic);
}

TEST_F(VmTest, TripleFaultIsTold) {
    run({0x0f, 0x0b});  // ud2 without an IDT
    EXPECT_EQ(status->end, VmmEnd::kGuestShutdown);
    EXPECT_NE(std::string(status->message).find("triple fault"), std::string::npos) << status->message;
}

TEST_F(VmTest, ReadsAnAbsentAndAPresentPort) {
    // mov $0x64,%dx; in; (now 0) or $'0',%al; say; mov $0x3fd,%dx; in; (now ff) and $'F',%al; say
    run(Code{0x66, 0xba, 0x64, 0, 0xec, 0x0c, '0'} + out_al(kConsolePort) +
        Code{0x66, 0xba, 0xfd, 3, 0xec, 0x24, 'F'} + out_al(kConsolePort) + kEnd);
    EXPECT_EQ(log(), "0F");
}

TEST_F(VmTest, ReadsAVirtioRegister) {
    // The devices are above the GiB that is mapped, so the second 2 MiB page is made to lead there:
    // movl $0xd0000083,0xb008; mov $0x200000,%ebx; mov (%rbx),%eax; then its four bytes are said.
    Code code = {0xc7, 0x04, 0x25, 0x08, 0xb0, 0, 0, 0x83, 0, 0, 0xd0, 0xbb, 0, 0, 0x20, 0, 0x8b, 0x03};
    code = code + out_al(kConsolePort);
    for (int i = 0; i < 3; ++i) code = code + Code{0xc1, 0xe8, 8} + out_al(kConsolePort);
    run(code + kEnd);
    EXPECT_EQ(log(), "virt");
    EXPECT_EQ(exits(VmmExit::kMmio), 1u);
}

// Where KVM's emulator runs the guest's kernel mode these are completed by the VMM, elsewhere by the CPU.
TEST_F(VmTest, FwaitAndLdmxcsrArePassed) {
    // fninit first, so that no exception is pending; ldmxcsr of 0x1f80 on the stack.
    run(Code{0x9b} + say("a") + Code{0xc7, 0x04, 0x24, 0x80, 0x1f, 0, 0, 0x0f, 0xae, 0x14, 0x24} + say("b") +
        kEnd);
    EXPECT_EQ(log(), "ab") << status->message;
}

TEST_F(VmTest, BreakpointsReachTheGuestBehindTheInstruction) {
    // An IDT at 0x3000 with one gate, for #BP, to `handler`: says 'h' and returns by iretq.
    const uint64_t handler = kCode + 0x200;
    Code code;
    auto store = [&code](uint32_t address, uint32_t value) {  // movl $value,address
        code = code + Code{0xc7, 0x04, 0x25};
        for (uint32_t n : {address, value})
            for (int i = 0; i < 4; ++i) code.push_back(static_cast<unsigned char>(n >> (8 * i)));
    };
    store(0x3030, static_cast<uint32_t>(0x10u << 16 | (handler & 0xffff)));
    store(0x3034, static_cast<uint32_t>((handler & 0xffff0000) | 0x8e00));
    store(0x3038, 0);
    store(0x3000 - 16, 0x3000u << 16 | 0x3f);  // the IDT's limit and address, for lidt
    store(0x3000 - 12, 0);
    code = code + Code{0x0f, 0x01, 0x1c, 0x25, 0xf0, 0x2f, 0, 0};  // lidt
    code = code + say("1") + Code{0xcc} + say("2") + kEnd;
    code.resize(0x200, 0x90);
    code = code + say("h") + Code{0x48, 0xcf};
    run(code);
    EXPECT_EQ(log(), "1h2") << status->message;
}

TEST_F(VmTest, StoppingEndsAnEndlessLoop) {
    auto vm = boot(say("x") + kForever);
    std::thread stopper([&] {
        while (status->ring_written == 0) std::this_thread::sleep_for(1ms);
        vm->stop();
    });
    vm->run(std::chrono::steady_clock::now());
    stopper.join();
    EXPECT_EQ(status->end, VmmEnd::kStopped);
}

TEST_F(VmTest, StoppingEndsAHalt) {
    auto vm = boot(say("x") + kHalt);
    std::thread stopper([&] {
        while (status->ring_written == 0) std::this_thread::sleep_for(1ms);
        vm->stop();
    });
    vm->run(std::chrono::steady_clock::now());
    stopper.join();
    EXPECT_EQ(status->end, VmmEnd::kStopped);
}

TEST_F(VmTest, StoppingBeforeItRunsIsNotLost) {
    auto vm = boot(kForever);
    vm->stop();
    vm->run(std::chrono::steady_clock::now());
    EXPECT_EQ(status->end, VmmEnd::kStopped);
}

TEST_F(VmTest, ManyKicksLoseNothing) {
    auto vm = boot(kForever);
    std::thread kicker([&] {
        for (int i = 0; i < 2000; ++i) vm->nudge();
        vm->stop();
    });
    vm->run(std::chrono::steady_clock::now());
    kicker.join();
    EXPECT_EQ(status->end, VmmEnd::kStopped);
}

TEST_F(VmTest, TheEndOfASocketEndsTheVm) {
    for (Fd* socket : {&engine, &engine_control}) {
        SetUp();
        status = std::make_unique<VmmStatus>();
        auto vm = boot(kHalt);
        std::thread io([&] { run_io(*vm, channel.get(), control.get()); });
        socket->reset();
        vm->run(std::chrono::steady_clock::now());
        io.join();
        EXPECT_EQ(status->end, VmmEnd::kStopped);
    }
}

TEST_F(VmTest, ASnapshotGoesOnWhereItWasTaken) {
    Fd state(::memfd_create("state", MFD_CLOEXEC)), memory(::memfd_create("memory", MFD_CLOEXEC));
    {
        auto vm = boot(say("before") + kHalt);
        IoOutcome outcome;
        std::thread io([&] { outcome = run_io(*vm, channel.get(), control.get()); });
        std::thread engine_thread([&] {
            EXPECT_EQ(ask("bogus"), "error unknown request");
            EXPECT_EQ(ask("snapshot"), "error a snapshot needs two descriptors");
            EXPECT_EQ(ask("snapshot", {state.get(), memory.get()}), "ok");
            EXPECT_EQ(ask("attach"), "ok");
            EXPECT_EQ(ask("snapshot", {state.get(), memory.get()}),
                      "error a snapshot is taken before the disks are attached");
            const char stop[] = {'s', 't', 'o', 'p'};
            EXPECT_EQ(::send(engine_control.get(), stop, sizeof stop, 0), 4);
        });
        vm->run(std::chrono::steady_clock::now());
        io.join();
        engine_thread.join();
        EXPECT_TRUE(outcome.stop_requested);
    }
    EXPECT_EQ(log(), "before");

    auto restore = [&](Vm::Options o) {
        o.restore_state = state.get();
        o.restore_memory = memory.get();
        return std::make_unique<Vm>(std::move(o), *status);
    };
    {
        SetUp();
        auto vm = restore(options());
        std::thread stopper([&] {
            std::this_thread::sleep_for(20ms);
            vm->stop();
        });
        vm->run(std::chrono::steady_clock::now());
        stopper.join();
        EXPECT_EQ(log(), "before");  // still halted, and it did not begin anew
        EXPECT_EQ(status->end, VmmEnd::kStopped);
    }
    {
        // Another shape, and a torn memory file, are told as what they are.
        Vm::Options o = options();
        o.slots = 2;
        EXPECT_THROW(restore(std::move(o)), BadSnapshot);
        ASSERT_EQ(::ftruncate(memory.get(), 16u << 20), 0);
        EXPECT_THROW(restore(options()), BadSnapshot);
        ASSERT_EQ(::ftruncate(state.get(), 100), 0);
        EXPECT_THROW(restore(options()), BadSnapshot);
    }
}

TEST_F(VmTest, ABusyGuestIsNotSnapshottedMeanwhile) {
    Fd state(::memfd_create("state", MFD_CLOEXEC)), memory(::memfd_create("memory", MFD_CLOEXEC));
    auto vm = boot(kForever);
    std::thread io([&] { run_io(*vm, channel.get(), control.get()); });
    std::thread engine_thread([&] {
        // Asked for both at once: the second is refused, and stop is obeyed at once.
        std::string snapshot = "snapshot";
        std::thread asker([&] {
            EXPECT_EQ(ask(snapshot, {state.get(), memory.get()}), "error another request is under way");
        });
        asker.join();
        EXPECT_EQ(::send(engine_control.get(), "stop", 4, 0), 4);
    });
    // Occupies the place that a request takes.
    EXPECT_TRUE(vm->request_snapshot(Fd(::memfd_create("a", 0)), Fd(::memfd_create("b", 0)),
                                     [](const std::string&) {}));
    vm->run(std::chrono::steady_clock::now());
    io.join();
    engine_thread.join();
    EXPECT_EQ(status->end, VmmEnd::kStopped);
}

TEST_F(VmTest, DisksAppearWhenAttached) {
    auto log_of_attach = [&] { return ask("attach"); };
    kernel = kernel_of(kHalt);
    Vm::Options o = options();
    o.kernel = kernel.get();
    o.slots = 2;
    o.disks.push_back({std::make_unique<MemoryDevice>(4096), {}});
    Vm vm(std::move(o), *status);
    std::thread io([&] { run_io(vm, channel.get(), control.get()); });
    std::thread engine_thread([&] {
        EXPECT_EQ(log_of_attach(), "ok");
        EXPECT_EQ(log_of_attach(), "ok");  // twice is once
        vm.stop();
    });
    vm.run(std::chrono::steady_clock::now());
    io.join();
    engine_thread.join();
    vm.close_disks();
}

TEST_F(VmTest, BadOptionsAreRefused) {
    kernel = kernel_of(kHalt);
    auto with = [&](auto change) {
        Vm::Options o = options();
        o.kernel = kernel.get();
        change(o);
        return std::make_unique<Vm>(std::move(o), *status);
    };
    EXPECT_THROW(with([](Vm::Options& o) { o.memory_bytes = 4096; }), Error);
    EXPECT_THROW(with([](Vm::Options& o) { o.memory_bytes = (16u << 20) + 1; }), Error);
    EXPECT_THROW(with([](Vm::Options& o) { o.slots = 0; }), Error);
    EXPECT_THROW(with([](Vm::Options& o) { o.slots = kMaxDiskSlots + 1; }), Error);
    EXPECT_THROW(with([](Vm::Options& o) { o.command_line = std::string(2048, 'x'); }), Error);
    EXPECT_THROW(with([this](Vm::Options& o) { o.kernel = channel.get(); }), Error);
    EXPECT_THROW(with([](Vm::Options& o) {
                     for (int i = 0; i < 2; ++i) o.disks.push_back({std::make_unique<MemoryDevice>(512), {}});
                 }),
                 Error);
}

}  // namespace
}  // namespace inspect
