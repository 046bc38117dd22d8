// SPDX-License-Identifier: LGPL-2.1-or-later
#include "vmm/io_thread.h"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <string_view>
#include <vector>

namespace inspect {

namespace {

constexpr size_t kMaxRequest = 256;
constexpr size_t kMaxDescriptors = 4;
// How often a guest that is to be halted for a snapshot is looked at.
constexpr int kNudgeMilliseconds = 2;

struct Packet {
    bool open = false;  // false: the end of the stream
    std::string text;
    std::vector<Fd> fds;
};

Packet receive_packet(int control) {
    char text[kMaxRequest];
    alignas(cmsghdr) char ancillary[CMSG_SPACE(kMaxDescriptors * sizeof(int))];
    iovec iov = {text, sizeof text};
    msghdr message = {};
    message.msg_iov = &iov;
    message.msg_iovlen = 1;
    message.msg_control = ancillary;
    message.msg_controllen = sizeof ancillary;
    ssize_t n;
    do {
        n = ::recvmsg(control, &message, MSG_CMSG_CLOEXEC);
    } while (n < 0 && errno == EINTR);
    Packet packet;
    if (n <= 0) return packet;
    packet.open = true;
    packet.text.assign(text, static_cast<size_t>(n));
    for (cmsghdr* header = CMSG_FIRSTHDR(&message); header; header = CMSG_NXTHDR(&message, header)) {
        if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
        const size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < count; ++i) {
            int fd;
            std::memcpy(&fd, CMSG_DATA(header) + i * sizeof fd, sizeof fd);
            packet.fds.emplace_back(fd);
        }
    }
    return packet;
}

// False when the VM is to stop.
bool serve_packet(Vm& vm, int control, Packet packet, IoOutcome& outcome) {
    if (!packet.open) return false;
    if (packet.text == "stop") {
        outcome.stop_requested = true;
        return false;
    }
    auto done = [control](const std::string& error) {
        send_packet(control, error.empty() ? "ok" : "error " + error);
    };
    bool accepted = true;
    if (packet.text == "attach") {
        accepted = vm.request_attach(done);
    } else if (packet.text == "snapshot") {
        if (packet.fds.size() == 2) {
            accepted = vm.request_snapshot(std::move(packet.fds[0]), std::move(packet.fds[1]), done);
        } else {
            done("a snapshot needs two descriptors");
        }
    } else {
        done("unknown request");
    }
    if (!accepted) done("another request is under way");
    return true;
}

// False when the VM is to stop.
bool io_step(Vm& vm, int channel, int control, IoOutcome& outcome) {
    bool wants_input;
    {
        std::lock_guard lock(vm.console_mutex());
        wants_input = vm.console().wants_input();
    }
    enum { kControl, kChannel, kWake, kStop };
    std::array<pollfd, 4> waits = {{
        {control, POLLIN, 0},
        {channel, static_cast<short>(wants_input ? POLLIN : 0), 0},  // its end is reported in any case
        {vm.wake_event(), POLLIN, 0},
        {vm.stop_event(), POLLIN, 0},
    }};
    if (::poll(waits.data(), waits.size(), vm.request_pending() ? kNudgeMilliseconds : -1) < 0)
        return errno == EINTR;
    if (waits[kStop].revents != 0) return false;
    if (waits[kWake].revents != 0) {
        uint64_t count;
        [[maybe_unused]] ssize_t n = ::read(vm.wake_event(), &count, sizeof count);
    }
    if (waits[kControl].revents != 0 && !serve_packet(vm, control, receive_packet(control), outcome))
        return false;
    if (vm.request_pending()) vm.nudge();
    if (waits[kChannel].revents & POLLIN) {
        std::lock_guard lock(vm.console_mutex());
        return vm.console().receive();
    }
    return !(waits[kChannel].revents & (POLLHUP | POLLERR | POLLNVAL));
}

}  // namespace

void send_packet(int control, const std::string& text) noexcept {
    ssize_t n;
    do {
        n = ::send(control, text.data(), text.size(), MSG_NOSIGNAL);
    } while (n < 0 && errno == EINTR);
}

IoOutcome run_io(Vm& vm, int channel, int control) noexcept {
    IoOutcome outcome;
    try {
        while (io_step(vm, channel, control, outcome)) continue;
    } catch (const std::exception&) {
        // Out of memory, or KVM refused an interrupt: the guest can't go on, and run() ends it as stopped.
    }
    vm.stop();
    return outcome;
}

}  // namespace inspect
