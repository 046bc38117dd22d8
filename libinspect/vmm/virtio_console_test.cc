// SPDX-License-Identifier: LGPL-2.1-or-later
#include "vmm/virtio_console.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstring>
#include <thread>

#include <inspect/error.h>

#include "base/fd.h"
#include "vmm/driver_for_test.h"
#include "vmm/virtio_pmem.h"

namespace inspect {
namespace {

constexpr uint16_t kDeviceReady = 0, kPortAdd = 1, kPortReady = 3, kPortOpen = 6, kPortName = 7;
constexpr uint32_t kControlRx = 2, kControlTx = 3, kRx = 4, kTx = 5;

struct Control {
    uint32_t port;
    uint16_t event;
    uint16_t value;
    bool operator==(const Control&) const = default;
};

class ConsoleTest : public testing::Test {
  protected:
    static constexpr uint64_t kControlBuffer = DriverHarness::kData, kRxBuffer = kControlBuffer + 0x1000,
                              kTxBuffer = kControlBuffer + 0x10000;

    ConsoleTest() {
        int fds[2];
        EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
        engine.reset(fds[0]);
        channel.reset(fds[1]);
        stop.reset(::eventfd(0, EFD_NONBLOCK));
        wake.reset(::eventfd(0, EFD_NONBLOCK));
        start();
    }

    void start() {
        auto owned = make();
        console = owned.get();
        h.transport.attach(std::move(owned));
        h.negotiate(kVirtioVersion1 | VirtioConsole::kMultiport);
        for (uint32_t i : {kControlRx, kControlTx}) queues.emplace_back(i, h.set_up_queue(i, 8));
        for (uint32_t i : {kRx, kTx}) queues.emplace_back(i, h.set_up_queue(i, 32));
        h.drive();
        for (int i = 0; i < 8; ++i) offer_control_buffer(i);
    }
    std::unique_ptr<VirtioConsole> make() {
        return std::make_unique<VirtioConsole>(h.memory,
                                               VirtioConsole::Outside{channel.get(), stop.get(), wake.get()});
    }
    DriverQueue& queue(uint32_t index) {
        for (auto& [i, q] : queues)
            if (i == index) return q;
        throw std::out_of_range("queue");
    }
    void offer_control_buffer(int i) {
        queue(kControlRx)
            .describe(static_cast<uint16_t>(i),
                      {kControlBuffer + static_cast<uint64_t>(i) * 64, 64, DriverQueue::kWrite, 0});
        queue(kControlRx).offer(static_cast<uint16_t>(i));
        h.notify(kControlRx);
    }
    void send_control(const Control& message) {
        h.memory.write(kTxBuffer, message);
        queue(kControlTx).describe(0, {kTxBuffer, sizeof message, 0, 0});
        queue(kControlTx).offer(0);
        h.notify(kControlTx);
    }
    Control control_at(uint16_t used) {
        const auto entry = queue(kControlRx).used_entry(used);
        return *h.memory.read<Control>(kControlBuffer + entry.id * 64);
    }
    void open_port() {
        send_control({0, kDeviceReady, 1});
        send_control({1, kPortReady, 1});
        send_control({1, kPortOpen, 1});
    }
    void offer_rx(uint16_t index, uint32_t bytes) {
        queue(kRx).describe(index, {kRxBuffer + index * 256u, bytes, DriverQueue::kWrite, 0});
        queue(kRx).offer(index);
        h.notify(kRx);
    }
    void offer_tx(uint64_t address, uint32_t bytes) {
        queue(kTx).describe(0, {address, bytes, 0, 0});
        queue(kTx).offer(0);
        h.notify(kTx);
    }
    bool wants_input() {
        std::lock_guard lock(h.transport.mutex());
        return console->wants_input();
    }
    bool receive() {
        std::lock_guard lock(h.transport.mutex());
        return console->receive();
    }
    bool woken() {
        uint64_t count;
        return ::read(wake.get(), &count, sizeof count) == sizeof count;
    }
    std::string rx(uint16_t index, size_t bytes) {
        auto data = h.bytes(kRxBuffer + index * 256u, bytes);
        return std::string(reinterpret_cast<const char*>(data.data()), bytes);
    }

    Fd engine, channel, stop, wake;
    DriverHarness h;
    VirtioConsole* console = nullptr;
    std::vector<std::pair<uint32_t, DriverQueue>> queues;
};

TEST_F(ConsoleTest, IntroducesOnePortThatIsNoTty) {
    EXPECT_EQ(h.read(0x104), 2u);  // max_nr_ports
    send_control({0xffffffff, kDeviceReady, 1});
    ASSERT_EQ(queue(kControlRx).used_index(), 1);
    EXPECT_EQ(control_at(0), (Control{1, kPortAdd, 1}));
    send_control({1, kPortReady, 1});
    ASSERT_EQ(queue(kControlRx).used_index(), 3);
    EXPECT_EQ(control_at(1), (Control{1, kPortName, 1}));
    EXPECT_EQ(queue(kControlRx).used_entry(1).length, 12u);
    EXPECT_EQ(std::memcmp(h.bytes(kControlBuffer + 64 + 8, 4).data(), "insp", 4), 0);
    EXPECT_EQ(control_at(2), (Control{1, kPortOpen, 1}));
}

TEST_F(ConsoleTest, KeepsMessagesForWhichThereIsNoBuffer) {
    for (int i = 0; i < 100; ++i)
        send_control({0, kDeviceReady, 1});  // far more than buffers and than are kept
    EXPECT_EQ(queue(kControlRx).used_index(), 8);
    EXPECT_EQ(queue(kControlTx).used_index(), 100);
    for (int i = 0; i < 100; ++i) offer_control_buffer(i % 8);
    const uint16_t kept = static_cast<uint16_t>(queue(kControlRx).used_index() - 8);
    EXPECT_GE(kept, 1);
    EXPECT_LE(kept, 16);
}

TEST_F(ConsoleTest, OtherPortsAndShortMessagesAreIgnored) {
    send_control({0, kPortReady, 1});
    send_control({7, kPortOpen, 1});
    send_control({1, 999, 1});
    send_control({1, kPortReady, 0});
    queue(kControlTx).describe(0, {kTxBuffer, 3, 0, 0});
    queue(kControlTx).offer(0);
    h.notify(kControlTx);
    EXPECT_EQ(queue(kControlTx).used_index(), 5);
    EXPECT_EQ(queue(kControlRx).used_index(), 0);
    offer_rx(0, 256);
    EXPECT_FALSE(wants_input());
}

TEST_F(ConsoleTest, SendsWhatTheGuestWrites) {
    std::memcpy(h.bytes(kTxBuffer, 5).data(), "hello", 5);
    offer_tx(kTxBuffer, 5);
    EXPECT_EQ(queue(kTx).used_index(), 1);
    char data[16];
    EXPECT_EQ(::recv(engine.get(), data, sizeof data, 0), 5);
    EXPECT_EQ(std::string(data, 5), "hello");
    offer_tx(kTxBuffer, 0);
    EXPECT_EQ(queue(kTx).used_index(), 2);
}

TEST_F(ConsoleTest, ReceivesOnlyWhenThePortIsOpenAndThereAreBuffers) {
    ASSERT_EQ(::send(engine.get(), "abcdef", 6, 0), 6);
    EXPECT_FALSE(wants_input());
    open_port();
    EXPECT_TRUE(woken());
    EXPECT_FALSE(wants_input());
    offer_rx(0, 4);
    EXPECT_TRUE(woken());
    EXPECT_TRUE(wants_input());
    offer_rx(1, 256);
    EXPECT_FALSE(woken());  // nobody waits
    EXPECT_TRUE(receive());
    EXPECT_EQ(queue(kRx).used_index(), 2);
    EXPECT_EQ(rx(0, 4), "abcd");
    EXPECT_EQ(queue(kRx).used_entry(1).length, 2u);
    EXPECT_EQ(rx(1, 2), "ef");
    EXPECT_TRUE(h.line_up);
    EXPECT_FALSE(wants_input());
}

TEST_F(ConsoleTest, NothingToReceiveTakesNoBuffer) {
    open_port();
    offer_rx(0, 256);
    EXPECT_TRUE(receive());
    EXPECT_EQ(queue(kRx).used_index(), 0);
    ASSERT_EQ(::send(engine.get(), "x", 1, 0), 1);
    EXPECT_TRUE(receive());
    EXPECT_EQ(queue(kRx).used_index(), 1);
}

TEST_F(ConsoleTest, TheEndOfTheStreamIsTold) {
    open_port();
    offer_rx(0, 256);
    engine.reset();
    EXPECT_FALSE(receive());
    // And the guest can go on writing into nothing.
    offer_tx(kTxBuffer, 100);
    EXPECT_EQ(queue(kTx).used_index(), 1);
}

TEST_F(ConsoleTest, ASlowEngineHoldsTheGuestUpAndNobodyElse) {
    open_port();
    offer_rx(0, 256);
    std::atomic<bool> written{false};
    std::thread guest([&] {  // 100 times 64 KiB is more than any socket buffers
        for (int i = 0; i < 100; ++i) offer_tx(DriverHarness::kData, 0x10000);
        written = true;
    });
    // While it waits, the other direction goes on.
    while (queue(kTx).used_index() == 0) std::this_thread::yield();
    ASSERT_EQ(::send(engine.get(), "in", 2, 0), 2);
    EXPECT_TRUE(receive());
    EXPECT_EQ(rx(0, 2), "in");
    EXPECT_FALSE(written);
    std::vector<char> buffer(1 << 20);
    size_t total = 0;
    while (total < 100 * 0x10000) {
        const ssize_t n = ::recv(engine.get(), buffer.data(), buffer.size(), 0);
        ASSERT_GT(n, 0);
        total += static_cast<size_t>(n);
    }
    guest.join();
    EXPECT_EQ(queue(kTx).used_index(), 100);
}

TEST_F(ConsoleTest, StoppingEndsAWait) {
    std::atomic<int> sent{0};
    std::thread guest([&] {
        for (; sent < 100; ++sent) offer_tx(DriverHarness::kData, 0x10000);
    });
    while (sent == 0) std::this_thread::yield();
    const uint64_t one = 1;
    ASSERT_EQ(::write(stop.get(), &one, sizeof one), static_cast<ssize_t>(sizeof one));
    guest.join();  // or the test hangs
    EXPECT_EQ(sent, 100);
}

TEST_F(ConsoleTest, AHostileReceiveQueueIsBrokenNotObeyed) {
    open_port();
    ASSERT_EQ(::send(engine.get(), "abc", 3, 0), 3);
    queue(kRx).describe(0, {1u << 20, 256, DriverQueue::kWrite, 0});
    queue(kRx).offer(0);
    h.notify(kRx);
    EXPECT_TRUE(receive());
    EXPECT_EQ(h.read(MmioTransport::kStatus) & 64, 64u);
    EXPECT_FALSE(wants_input());
    EXPECT_TRUE(receive());
    // A reset, and the bytes are still there.
    queues.clear();
    h.negotiate(kVirtioVersion1 | VirtioConsole::kMultiport);
    h.bytes(DriverHarness::kQueueArea, 8 * DriverHarness::kQueueStride);
    std::ranges::fill(h.bytes(DriverHarness::kQueueArea, 8 * DriverHarness::kQueueStride), std::byte{0});
    for (uint32_t i : {kControlRx, kControlTx}) queues.emplace_back(i, h.set_up_queue(i, 8));
    for (uint32_t i : {kRx, kTx}) queues.emplace_back(i, h.set_up_queue(i, 32));
    h.drive();
    EXPECT_FALSE(wants_input());  // the port must be opened again
    open_port();
    offer_rx(0, 256);
    EXPECT_TRUE(receive());
    EXPECT_EQ(rx(0, 3), "abc");
}

TEST_F(ConsoleTest, SurvivesASnapshot) {
    open_port();
    for (int i = 0; i < 10; ++i) send_control({0, kDeviceReady, 1});  // some stay undelivered
    offer_rx(0, 256);
    StateWriter out;
    h.transport.save(out);
    MmioTransport other(h.lines, 5);
    auto owned = make();
    VirtioConsole* restored = owned.get();
    other.attach(std::move(owned));
    StateReader in(out.bytes());
    other.load(in);
    EXPECT_TRUE(in.at_end());
    ASSERT_EQ(::send(engine.get(), "abc", 3, 0), 3);
    EXPECT_TRUE(restored->wants_input());
    EXPECT_TRUE(restored->receive());
    EXPECT_EQ(rx(0, 3), "abc");

    out.bytes().back() = std::byte{0xff};
    out.bytes().pop_back();
    MmioTransport torn(h.lines, 5);
    torn.attach(make());
    StateReader short_in(out.bytes());
    EXPECT_THROW(torn.load(short_in), Error);
}

TEST(Pmem, TellsItsRegionAndFlushes) {
    DriverHarness h;
    h.transport.attach(std::make_unique<VirtioPmem>(h.memory, 0x123456789000, 0x200000));
    EXPECT_EQ(h.read(0x100), 0x56789000u);
    EXPECT_EQ(h.read(0x104), 0x1234u);
    EXPECT_EQ(h.read(0x108), 0x200000u);
    h.negotiate(kVirtioVersion1);
    DriverQueue queue = h.set_up_queue(0, 16);
    h.drive();
    h.memory.write(DriverHarness::kData + 64, uint32_t{99});
    queue.describe_chain(
        0, {{DriverHarness::kData, 4, 0, 0}, {DriverHarness::kData + 64, 4, DriverQueue::kWrite, 0}});
    queue.offer(0);
    queue.describe_chain(8, {{DriverHarness::kData, 4, 0, 0}});  // nowhere to answer
    queue.offer(8);
    h.notify(0);
    EXPECT_EQ(queue.used_index(), 2);
    EXPECT_EQ(queue.used_entry(0).length, 4u);
    EXPECT_EQ(queue.used_entry(1).length, 0u);
    EXPECT_EQ(h.memory.read<uint32_t>(DriverHarness::kData + 64), 0u);
}

}  // namespace
}  // namespace inspect
