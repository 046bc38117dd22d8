// SPDX-License-Identifier: LGPL-2.1-or-later
#include "block/nbd_stream.h"

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <system_error>

#include <inspect/error.h>

namespace inspect {

namespace {

timeval to_timeval(std::chrono::milliseconds time) {
    time = std::max(time, std::chrono::milliseconds(1));  // 0 would be "for ever"
    return {.tv_sec = time.count() / 1000, .tv_usec = time.count() % 1000 * 1000};
}

}  // namespace

NbdStream::NbdStream(int socket, std::string peer, std::chrono::milliseconds stall_timeout)
    : socket_(socket),
      peer_(std::move(peer)),
      stall_timeout_(stall_timeout),
      buffer_(std::make_unique_for_overwrite<std::byte[]>(kBufferSize)) {
    apply_timeout();
}

void NbdStream::set_deadline(std::optional<Clock::time_point> deadline) {
    deadline_ = deadline;
    apply_timeout();
}

void NbdStream::apply_timeout() {
    auto time = stall_timeout_;
    if (deadline_) {
        auto left = std::chrono::ceil<std::chrono::milliseconds>(*deadline_ - Clock::now());
        if (left.count() <= 0) fail("took too long to answer");
        time = left;
    }
    const timeval limit = to_timeval(time);
    ::setsockopt(socket_, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    ::setsockopt(socket_, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
}

void NbdStream::fail(const std::string& what) const { throw Error(ErrorKind::kCorrupt, peer_ + " " + what); }

// One recv(2) that got something; 0 at the end of the stream.
size_t NbdStream::receive(std::span<std::byte> out, bool patient) {
    while (true) {
        if (deadline_) apply_timeout();
        const ssize_t n = ::recv(socket_, out.data(), out.size(), 0);
        if (n >= 0) return static_cast<size_t>(n);
        if (errno == EINTR) continue;
        if (errno == EAGAIN || errno == EWOULDBLOCK) {
            if (patient) continue;
            fail("does not answer");
        }
        if (errno == ECONNRESET) return 0;
        fail("can't be read from: " + std::generic_category().message(errno));
    }
}

void NbdStream::read(std::span<std::byte> out) {
    while (!out.empty()) {
        if (begin_ == end_) {
            begin_ = end_ = 0;
            // What is large goes where it belongs, past the buffer.
            const bool direct = out.size() >= kBufferSize / 2;
            const size_t n = receive(direct ? out : std::span(buffer_.get(), kBufferSize), false);
            if (n == 0) fail("hung up");
            if (direct) {
                out = out.subspan(n);
                continue;
            }
            end_ = n;
        }
        const size_t n = std::min(out.size(), buffered());
        std::memcpy(out.data(), buffer_.get() + begin_, n);
        begin_ += n;
        out = out.subspan(n);
    }
}

std::span<const std::byte> NbdStream::take(size_t length) {
    if (length > kBufferSize - begin_) {
        std::memmove(buffer_.get(), buffer_.get() + begin_, buffered());
        end_ -= begin_;
        begin_ = 0;
    }
    while (buffered() < length) {
        const size_t n = receive({buffer_.get() + end_, kBufferSize - end_}, false);
        if (n == 0) fail("hung up");
        end_ += n;
    }
    const std::span<const std::byte> result(buffer_.get() + begin_, length);
    begin_ += length;
    return result;
}

void NbdStream::skip(uint64_t length) {
    while (length > 0) {
        if (begin_ == end_) {
            begin_ = 0;
            end_ = receive({buffer_.get(), kBufferSize}, false);
            if (end_ == 0) fail("hung up");
        }
        const size_t n = std::min<uint64_t>(length, buffered());
        begin_ += n;
        length -= n;
    }
}

bool NbdStream::wait() {
    if (begin_ != end_) return true;
    begin_ = 0;
    end_ = receive({buffer_.get(), kBufferSize}, true);
    return end_ > 0;
}

void NbdStream::write(std::span<const std::byte> bytes) {
    iovec piece = {const_cast<std::byte*>(bytes.data()), bytes.size()};  // NOLINT: iovec has no const form
    write(std::span(&piece, 1));
}

void NbdStream::write(std::span<iovec> pieces) {
    while (!pieces.empty()) {
        if (pieces.front().iov_len == 0) {
            pieces = pieces.subspan(1);
            continue;
        }
        if (deadline_) apply_timeout();
        msghdr message = {};
        message.msg_iov = pieces.data();
        message.msg_iovlen = std::min<size_t>(pieces.size(), IOV_MAX);
        const ssize_t sent = ::sendmsg(socket_, &message, MSG_NOSIGNAL);
        if (sent < 0) {
            if (errno == EINTR) continue;
            if (errno == EAGAIN || errno == EWOULDBLOCK) fail("takes no more data");
            if (errno == EPIPE || errno == ECONNRESET) fail("hung up");
            fail("can't be written to: " + std::generic_category().message(errno));
        }
        auto left = static_cast<size_t>(sent);
        while (left > 0) {
            iovec& piece = pieces.front();
            const size_t n = std::min(left, piece.iov_len);
            piece.iov_base = static_cast<std::byte*>(piece.iov_base) + n;
            piece.iov_len -= n;
            left -= n;
            if (piece.iov_len == 0) pieces = pieces.subspan(1);
        }
    }
}

}  // namespace inspect
