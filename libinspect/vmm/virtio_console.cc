// SPDX-License-Identifier: LGPL-2.1-or-later
#include "vmm/virtio_console.h"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/endian.h"

namespace inspect {

namespace {

struct ConsoleConfig {
    le16 columns;
    le16 rows;
    le32 max_ports;
    le32 emergency_write;
};

// Events of control messages.
constexpr uint16_t kDeviceReady = 0, kPortAdd = 1, kPortReady = 3, kPortOpen = 6, kPortHasName = 7;

// The driver gives a page to every buffer of a receive queue as soon as it finds the port, so these are as
// small as they can be without making the guest wait.
constexpr uint16_t kUnusedSize = 2, kControlSize = 8, kDataSize = 32;

constexpr size_t kMaxUndelivered = 16;     // a well-behaved driver causes three
constexpr size_t kMaxPieces = 256;         // in one sendmsg or recvmsg
constexpr unsigned kMaxChainsAtOnce = 64;  // received before the mutex is given to the vCPU

}  // namespace

struct VirtioConsole::Control {
    le32 port;
    le16 event;
    le16 value;
};

VirtioConsole::VirtioConsole(const GuestMemory& memory, const Outside& outside)
    : VirtioDevice(kConsole, kMultiport | kVirtioRingIndirect | kVirtioRingEventIndex, memory,
                   {kUnusedSize, kUnusedSize, kControlSize, kControlSize, kDataSize, kDataSize}),
      outside_(outside) {
    set_config(ConsoleConfig{0, 0, kPort + 1, 0});
}

void VirtioConsole::activate(uint64_t accepted_features) {
    VirtioDevice::activate(accepted_features);
    live_ = true;
}

void VirtioConsole::reset() {
    VirtioDevice::reset();
    live_ = guest_open_ = starving_ = false;
    undelivered_.clear();
}

void VirtioConsole::notify(unsigned index, std::unique_lock<std::mutex>& lock) {
    switch (index) {
        case kTransmit:
            transmit(lock);
            break;
        case kReceive:
            if (starving_) wake();
            break;
        case kControlReceive:
            deliver_control();
            break;
        case kControlTransmit:
            take_control();
            break;
        default:
            discard(queue(index));
            break;  // port 0, which nobody was told of
    }
}

void VirtioConsole::wake() {
    const uint64_t one = 1;
    // Fails only when the counter is at its end, and then the thread is awake.
    [[maybe_unused]] ssize_t n = ::write(outside_.wake_event, &one, sizeof one);
}

// Only the I/O thread's calls run while the mutex is free, and they touch neither this queue nor this chain.
void VirtioConsole::transmit(std::unique_lock<std::mutex>& lock) {
    Virtqueue& data = queue(kTransmit);
    Virtqueue::Round round(data);
    do {
        while (round.pop(vcpu_chain_)) {
            const bool going_on = send_all(vcpu_chain_.readable, lock);
            data.push(vcpu_chain_.head, 0);
            if (!going_on) return;  // the VM stops; nobody will look at the queue again
        }
        data.want_notifications(true);
    } while (data.has_available());
    finish(data);
}

// False when the VM is to stop. An engine that is gone takes what is left with it.
bool VirtioConsole::send_all(std::vector<iovec>& pieces, std::unique_lock<std::mutex>& lock) {
    size_t at = 0;
    while (at < pieces.size()) {
        msghdr message = {};
        message.msg_iov = &pieces[at];
        message.msg_iovlen = std::min(pieces.size() - at, kMaxPieces);
        ssize_t n = ::sendmsg(outside_.channel, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0) {
            if (errno == EINTR) continue;
            if (errno != EAGAIN) return true;
            pollfd waits[2] = {{outside_.channel, POLLOUT, 0}, {outside_.stop_event, POLLIN, 0}};
            lock.unlock();
            ::poll(waits, 2, -1);
            lock.lock();
            if (waits[1].revents != 0) return false;
            continue;
        }
        for (size_t sent = static_cast<size_t>(n); sent > 0;) {
            iovec& piece = pieces[at];
            const size_t part = std::min(sent, piece.iov_len);
            piece.iov_base = static_cast<std::byte*>(piece.iov_base) + part;
            piece.iov_len -= part;
            sent -= part;
            if (piece.iov_len == 0) ++at;
        }
    }
    return true;
}

bool VirtioConsole::wants_input() {
    Virtqueue& data = queue(kReceive);
    starving_ = false;
    if (!live_ || !guest_open_ || !data.ready()) return false;  // wake() comes when the guest opens the port
    if (data.has_available()) {
        data.want_notifications(false);
        return true;
    }
    data.want_notifications(true);
    if (data.has_available()) return true;
    starving_ = true;
    return false;
}

bool VirtioConsole::receive() {
    if (!live_ || !guest_open_) return true;
    Virtqueue& data = queue(kReceive);
    bool open = true;
    for (unsigned i = 0; i < kMaxChainsAtOnce && data.pop(io_chain_); ++i) {
        ssize_t n = 0;
        if (!io_chain_.writable.empty()) {
            msghdr message = {};
            message.msg_iov = io_chain_.writable.data();
            message.msg_iovlen = std::min(io_chain_.writable.size(), kMaxPieces);
            do {
                n = ::recvmsg(outside_.channel, &message, MSG_DONTWAIT);
            } while (n < 0 && errno == EINTR);
            if (n <= 0) {
                data.unpop();
                open = n < 0 && errno == EAGAIN;
                break;
            }
        }
        data.push(io_chain_.head, static_cast<uint32_t>(n));
        if (static_cast<uint64_t>(n) < io_chain_.writable_bytes) break;  // that was all
    }
    finish(data);
    return open;
}

void VirtioConsole::take_control() {
    Virtqueue& control = queue(kControlTransmit);
    Virtqueue::Round round(control);
    do {
        while (round.pop(vcpu_chain_)) {
            Control message;
            // A driver sends each message as one buffer; what is cut otherwise is none of its.
            if (!vcpu_chain_.readable.empty() && vcpu_chain_.readable[0].iov_len >= sizeof message) {
                std::memcpy(&message, vcpu_chain_.readable[0].iov_base, sizeof message);
                answer(message);
            }
            control.push(vcpu_chain_.head, 0);
        }
        control.want_notifications(true);
    } while (control.has_available());
    finish(control);
    deliver_control();
}

void VirtioConsole::answer(const Control& message) {
    if (message.event == kDeviceReady) {
        if (message.value == 1) post(kPortAdd, 1);
        return;
    }
    if (message.port != kPort) return;
    if (message.event == kPortReady && message.value == 1) {
        post(kPortHasName, 1, kPortName);
        post(kPortOpen, 1);
    } else if (message.event == kPortOpen) {
        guest_open_ = message.value != 0;
        wake();
    }
}

void VirtioConsole::post(uint16_t event, uint16_t value, const char* name) {
    if (undelivered_.size() >= kMaxUndelivered) return;
    const Control message{kPort, event, value};
    auto bytes = std::as_bytes(std::span(&message, 1));
    auto name_bytes = std::as_bytes(std::span(name, std::strlen(name)));
    std::vector<std::byte>& all = undelivered_.emplace_back(bytes.begin(), bytes.end());
    all.insert(all.end(), name_bytes.begin(), name_bytes.end());
}

void VirtioConsole::deliver_control() {
    Virtqueue& control = queue(kControlReceive);
    Virtqueue::Round round(control);
    while (!undelivered_.empty() && round.pop(vcpu_chain_)) {
        const auto& message = undelivered_.front();
        uint32_t written = 0;
        if (!vcpu_chain_.writable.empty() && vcpu_chain_.writable[0].iov_len >= message.size()) {
            std::memcpy(vcpu_chain_.writable[0].iov_base, message.data(), message.size());
            written = static_cast<uint32_t>(message.size());
            undelivered_.pop_front();
        }
        control.push(vcpu_chain_.head, written);
    }
    control.want_notifications(!undelivered_.empty());
    finish(control);
}

void VirtioConsole::discard(Virtqueue& unused) {
    Virtqueue::Round round(unused);
    while (round.pop(vcpu_chain_)) unused.push(vcpu_chain_.head, 0);
    finish(unused);
}

void VirtioConsole::save(StateWriter& out) const {
    VirtioDevice::save(out);
    out.put(uint8_t{live_});
    out.put(uint8_t{guest_open_});
    out.put(static_cast<uint32_t>(undelivered_.size()));
    for (const auto& message : undelivered_) out.put_list(std::span<const std::byte>(message));
}

void VirtioConsole::load(StateReader& in) {
    VirtioDevice::load(in);
    live_ = in.get_bool();
    guest_open_ = in.get_bool();
    starving_ = false;
    const uint32_t messages = in.get<uint32_t>();
    StateReader::require(messages <= kMaxUndelivered);
    undelivered_.clear();
    for (uint32_t i = 0; i < messages; ++i) undelivered_.push_back(in.get_list<std::byte>(64));
}

}  // namespace inspect
