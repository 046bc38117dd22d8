// SPDX-License-Identifier: GPL-2.0-or-later
//
// A hostile driver: the input is a sequence of register accesses and memory contents for a virtio device, one
// of the three that the VMM has. Nothing it does may crash, hang or reach outside the guest's memory.
#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <cstdlib>
#include <cstring>
#include <memory>

#include "base/fd.h"
#include "block/memory_device.h"
#include "vmm/driver_for_test.h"
#include "vmm/virtio_blk.h"
#include "vmm/virtio_console.h"
#include "vmm/virtio_pmem.h"

using namespace inspect;

namespace {

class Input {
  public:
    Input(const uint8_t* data, size_t size) : rest_(data, size) {}
    bool empty() const { return rest_.empty(); }
    template <typename T>
    T take() {
        T value{};
        const size_t n = std::min(sizeof value, rest_.size());
        if (n > 0) std::memcpy(&value, rest_.data(), n);
        rest_ = rest_.subspan(n);
        return value;
    }

  private:
    std::span<const uint8_t> rest_;
};

// What the console stands on; made once, because descriptors are dear. The engine's side is read by nobody:
// the socket fills up, and the stop event, which is set, ends every wait.
struct Outside {
    Fd engine, channel, stop, wake;
    Outside() {
        int fds[2];
        if (::socketpair(AF_UNIX, SOCK_STREAM, 0, fds) != 0) std::abort();
        engine.reset(fds[0]);
        channel.reset(fds[1]);
        stop.reset(::eventfd(1, EFD_NONBLOCK));
        wake.reset(::eventfd(0, EFD_NONBLOCK));
    }
    void refill() const {
        char bytes[4096] = "from the engine";
        ::send(engine.get(), bytes, sizeof bytes, MSG_DONTWAIT);
        ::recv(engine.get(), bytes, sizeof bytes, MSG_DONTWAIT);
    }
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    static const Outside outside;
    static const auto status = std::make_unique<VmmStatus>();
    static std::atomic<bool> stopping{false};
    Input input(data, size);
    DriverHarness h;
    VirtioConsole* console = nullptr;
    switch (input.take<uint8_t>() % 3) {
        case 0:
            h.transport.attach(std::make_unique<VirtioBlk>(h.memory, std::make_unique<MemoryDevice>(100'001),
                                                           VirtioBlk::Options{}, *status, stopping));
            break;
        case 1: {
            auto owned = std::make_unique<VirtioConsole>(
                h.memory,
                VirtioConsole::Outside{outside.channel.get(), outside.stop.get(), outside.wake.get()});
            console = owned.get();
            h.transport.attach(std::move(owned));
            break;
        }
        default:
            h.transport.attach(std::make_unique<VirtioPmem>(h.memory, uint64_t{4} << 30, 2u << 20));
            break;
    }
    // Most inputs begin behind the negotiation, where the queues are.
    if (input.take<uint8_t>() & 1) {
        h.negotiate(kVirtioVersion1 | kVirtioRingIndirect |
                    (input.take<uint8_t>() & 1 ? kVirtioRingEventIndex : 0));
        for (uint32_t i = 0; i < h.transport.device()->queues().size(); ++i)
            h.set_up_queue(i, h.transport.device()->queues()[i].max_size());
        h.drive();
    }
    for (int steps = 0; steps < 2000 && !input.empty(); ++steps) {
        const uint8_t what = input.take<uint8_t>();
        switch (what % 8) {
            case 0:
                h.write(input.take<uint8_t>() & 0xfcu, input.take<uint32_t>());
                break;
            case 1:
                h.read(input.take<uint16_t>() & 0xfffu);
                break;
            case 2:
                h.notify(what / 8 % 8);
                break;
            case 3: {  // a descriptor of a queue
                DriverQueue queue(
                    h.memory, DriverHarness::kQueueArea + what / 8 % 8 * DriverHarness::kQueueStride, 128);
                queue.describe(input.take<uint8_t>() % 128, input.take<DriverQueue::Descriptor>());
                break;
            }
            case 4:
                h.memory.write(input.take<uint32_t>() % DriverHarness::kMemory, input.take<uint64_t>());
                break;
            case 5: {  // a chain is offered, with the size that the set-up gave the queue
                const uint32_t index = what / 8 % 8;
                if (index >= h.transport.device()->queues().size()) break;
                DriverQueue queue(h.memory, DriverHarness::kQueueArea + index * DriverHarness::kQueueStride,
                                  h.transport.device()->queues()[index].max_size());
                const uint16_t at = h.memory.read<uint16_t>(queue.available() + 2).value_or(0);
                h.memory.write(queue.available() + 4 + at % queue.size() * 2u, input.take<uint16_t>());
                queue.set_available_index(static_cast<uint16_t>(at + 1));
                h.notify(index);
                break;
            }
            case 6:
                h.take_interrupt();
                break;
            default:
                if (console) {
                    outside.refill();
                    std::lock_guard lock(h.transport.mutex());
                    if (console->wants_input()) console->receive();
                }
                break;
        }
    }
    return 0;
}
