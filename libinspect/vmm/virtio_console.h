// SPDX-License-Identifier: LGPL-2.1-or-later
//
// VirtioConsole: the channel between the engine and the agent (virtio 1.2, section 5.3): a multiport console
// device with one port, number 1, named "insp". Not being a console port it makes no tty: the guest has
// /dev/vport0p1.
//
// From the guest: sent to the channel's socket by the vCPU's thread. When the engine doesn't read, that
// thread waits, and with it the guest: back-pressure needs no buffer. To the guest: an I/O thread moves what
// is in the socket into the buffers that the guest gave, and stops reading when there are none. Neither holds
// the mutex while it waits, so each direction goes on when the other can't.
#pragma once

#include <cstdint>
#include <deque>
#include <vector>

#include "vmm/virtio_device.h"

namespace inspect {

class VirtioConsole final : public VirtioDevice {
  public:
    static constexpr uint32_t kPort = 1;
    static constexpr const char* kPortName = "insp";
    static constexpr uint64_t kMultiport = 1u << 1;
    enum Queue : unsigned { kControlReceive = 2, kControlTransmit = 3, kReceive = 4, kTransmit = 5 };

    // What the console stands on; the caller owns all of it and keeps it.
    struct Outside {
        int channel;     // the stream socket
        int stop_event;  // an eventfd: readable once the VM is to stop, whereupon no wait lasts
        int wake_event;  // an eventfd: written when the I/O thread should look at wants_input() again
    };

    VirtioConsole(const GuestMemory& memory, const Outside& outside);

    void activate(uint64_t accepted_features) override;
    void reset() override;
    void notify(unsigned queue, std::unique_lock<std::mutex>& lock) override;
    void save(StateWriter& out) const override;
    void load(StateReader& in) override;

    // The I/O thread's part, with the transport's mutex held.
    // True when the guest would take bytes now. Else wake_event is written when it does.
    bool wants_input();
    // Moves what the channel has into the guest's buffers; never waits. False at the end of the stream.
    bool receive();

  private:
    struct Control;

    void transmit(std::unique_lock<std::mutex>& lock);
    bool send_all(std::vector<iovec>& pieces, std::unique_lock<std::mutex>& lock);
    void take_control();
    void answer(const Control& message);
    void post(uint16_t event, uint16_t value, const char* name = "");
    void deliver_control();
    void discard(Virtqueue& unused);
    void wake();

    const Outside outside_;
    bool live_ = false;
    bool guest_open_ = false;
    bool starving_ = false;                           // the I/O thread waits for buffers
    std::deque<std::vector<std::byte>> undelivered_;  // control messages for which the guest gave no buffer
    DescriptorChain vcpu_chain_, io_chain_;
};

}  // namespace inspect
