// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/socket_channel.h"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

namespace inspect {

namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

}  // namespace

void SocketChannel::write(std::span<const std::byte> in, const std::function<void()>& hear) {
    for (;;) {
        in = in.subspan(write_some(in));
        if (in.empty()) return;
        wait(hear ? POLLIN | POLLOUT : POLLOUT, -1ms);
        if (hear && readable()) hear();
    }
}

size_t SocketChannel::write_some(std::span<const std::byte> in) {
    size_t done = 0;
    while (done < in.size()) {
        ssize_t n = ::send(socket_, in.data() + done, in.size() - done, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n > 0) {
            bytes_in_ += static_cast<uint64_t>(n);
            done += static_cast<size_t>(n);
        } else if (n < 0 && errno == EAGAIN) {
            break;
        } else if (n < 0 && errno != EINTR) {
            throw explain_("the appliance is gone", true);
        }
    }
    return done;
}

size_t SocketChannel::read(std::span<std::byte> out, std::chrono::milliseconds timeout) {
    for (;;) {
        if (!wait(POLLIN, timeout)) throw silence(timeout);
        ssize_t n = ::recv(socket_, out.data(), out.size(), MSG_DONTWAIT);
        if (n > 0) {
            bytes_out_ += static_cast<uint64_t>(n);
            return static_cast<size_t>(n);
        }
        if (n == 0 || (errno != EAGAIN && errno != EINTR)) throw explain_("the appliance is gone", true);
    }
}

bool SocketChannel::readable() {
    struct pollfd pfd = {socket_, POLLIN, 0};
    return ::poll(&pfd, 1, 0) > 0;
}

Channel::Ready SocketChannel::wait_with(int fd, std::chrono::milliseconds timeout) {
    Ready ready = wait(POLLIN, fd, timeout);
    if (!ready.channel && !ready.fd) throw silence(timeout);
    return ready;
}

Error SocketChannel::silence(std::chrono::milliseconds timeout) const {
    auto seconds = std::chrono::duration_cast<std::chrono::seconds>(timeout).count();
    return explain_("the appliance does not answer for " + std::to_string(seconds) + " s", false);
}

// False when the time is over; a negative timeout waits for ever.
bool SocketChannel::wait(short events, std::chrono::milliseconds timeout) {
    return wait(events, -1, timeout).channel;
}

// Also until `fd` is readable, if it is one.
Channel::Ready SocketChannel::wait(short events, int fd, std::chrono::milliseconds timeout) {
    auto deadline = Clock::now() + timeout;
    for (;;) {
        struct pollfd pfds[3] = {{socket_, events, 0}, {interrupt_fd_, POLLIN, 0}, {fd, POLLIN, 0}};
        int wait_ms = -1;
        if (timeout >= 0ms) {
            auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now()).count();
            wait_ms = static_cast<int>(std::clamp<int64_t>(left, 0, 1 << 30));
        }
        int ready = ::poll(pfds, 3, wait_ms);
        if (ready == 0) return {false, false};
        if (ready < 0 && errno != EINTR) throw Error::from_errno(ErrorKind::kEngine, "poll", errno);
        if (ready > 0 && pfds[1].revents) throw Error(ErrorKind::kCancelled, "interrupted");
        if (ready > 0) return {pfds[0].revents != 0, pfds[2].revents != 0};
    }
}

}  // namespace inspect
