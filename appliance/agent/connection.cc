// SPDX-License-Identifier: GPL-2.0-or-later
#include "connection.h"

#include <poll.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include <inspect/error.h>

namespace inspect::agent {

using protocol::Frame;
using protocol::FrameHeader;
using protocol::FrameType;

namespace {

constexpr size_t kHeader = sizeof(FrameHeader);
constexpr size_t kReadSize = 64 << 10;
// One full data frame and what small frames gather before and after it.
constexpr size_t kBufferSize = Connection::kDataChunk + (64 << 10);
// What the host may have written ahead: the frames that protocol/frame.h allows it.
constexpr size_t kMaxQueued = protocol::kInitialCredit + protocol::kMaxRequest;
constexpr uint64_t kHearEveryNs = 20'000'000;  // 20 ms

uint64_t to_ns(std::chrono::nanoseconds time) { return static_cast<uint64_t>(time.count()); }

uint64_t now_ns() {
    timespec now;
    ::clock_gettime(CLOCK_MONOTONIC, &now);
    return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec);
}

}  // namespace

Connection::Connection(int in, int out) : in_(in), out_(out), buffer_(new std::byte[kBufferSize]) {}

Connection::~Connection() {
    {
        std::lock_guard lock(out_mutex_);
        watch_ends_ = true;
    }
    end_of_watch_.notify_all();
    if (watcher_.joinable()) watcher_.join();
}

void Connection::watch(std::chrono::nanoseconds sign_every) {
    if (!watcher_.joinable()) watcher_ = std::thread([=, this] { keep_watch(sign_every); });
}

void Connection::keep_watch(std::chrono::nanoseconds sign_every) {
    struct {
        FrameHeader header;
        le32 credit = 0;
    } sign;
    std::unique_lock lock(out_mutex_);
    while (!end_of_watch_.wait_for(lock, sign_every / 3, [this] { return watch_ends_; })) {
        if (awaited_ == 0 || now_ns() - last_sign_ns_ < to_ns(sign_every)) continue;
        sign.header = protocol::make_header(FrameType::kCredit, awaited_, sizeof sign.credit);
        try {
            write_out(std::as_bytes(std::span(&sign, 1)));
        } catch (const ConnectionLost&) {
            return;  // the other thread will see it as well
        }
        last_sign_ns_ = now_ns();
    }
}

void Connection::warm() {
    std::memset(buffer_.get(), 0, kBufferSize);
    parser_.room(kReadSize);
}

void Connection::send_hello(const proto::Hello& hello) {
    append_message(FrameType::kHello, 0, hello);
    flush();
}

std::optional<Connection::Request> Connection::next_request() {
    try {
        while (pending_.empty()) {
            flush();
            pump();
        }
    } catch (const ConnectionLost&) {
        if (ended_) return std::nullopt;
        throw;
    }
    at_work_ = true;
    send_credit_ = protocol::kInitialCredit;
    unacknowledged_ = 0;
    ungranted_ = 0;
    Pending& current = pending_.front();
    last_heard_ns_ = now_ns();
    {
        std::lock_guard lock(out_mutex_);
        last_sign_ns_ = last_heard_ns_;
        if (gathered_ == 0) awaited_ = current.stream;  // else an answer before it
    }
    queued_bytes_ -= current.payload.size();
    return Request{current.stream, std::move(current.payload)};
}

void Connection::respond(const proto::Response& response) {
    Pending& current = pending_.front();
    append_message(FrameType::kResponse, current.stream, response);
    for (const Upload& upload : current.uploads) queued_bytes_ -= upload.payload.size();
    pending_.pop_front();
    at_work_ = false;
}

// ---- sending

void Connection::write_out(std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
        ssize_t n = ::write(out_, bytes.data(), bytes.size());
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && errno == EAGAIN) {
            pollfd wait{out_, POLLOUT, 0};
            ::poll(&wait, 1, -1);
            continue;
        }
        if (n <= 0) throw ConnectionLost("cannot write to the host: " + errno_text(errno));
        bytes = bytes.subspan(static_cast<size_t>(n));
    }
}

void Connection::flush() {
    if (gathered_ == 0) return;
    std::lock_guard lock(out_mutex_);
    write_out({buffer_.get(), gathered_});
    wrote();
}

// All that has gathered is written.
void Connection::wrote() {
    gathered_ = 0;
    last_sign_ns_ = now_ns();
    awaited_ = at_work_ ? pending_.front().stream : 0;
}

// Room in the buffer for `bytes` (at most its size) more; they are gathered by gathered_ += .
std::byte* Connection::reserve(size_t bytes) {
    if (kBufferSize - gathered_ < bytes) flush();
    return buffer_.get() + gathered_;
}

void Connection::append(FrameType type, uint32_t stream, std::span<const std::byte> payload) {
    FrameHeader header = protocol::make_header(type, stream, static_cast<uint32_t>(payload.size()));
    if (payload.size() > kBufferSize - kHeader) {
        std::memcpy(reserve(kHeader), &header, kHeader);
        gathered_ += kHeader;
        std::lock_guard lock(out_mutex_);
        write_out({buffer_.get(), gathered_});
        write_out(payload);
        wrote();
        if (type == FrameType::kResponse) awaited_ = 0;
        return;
    }
    std::byte* to = reserve(kHeader + payload.size());
    std::memcpy(to, &header, kHeader);
    if (!payload.empty()) std::memcpy(to + kHeader, payload.data(), payload.size());
    gathered_ += kHeader + payload.size();
}

void Connection::append_message(FrameType type, uint32_t stream,
                                const google::protobuf::MessageLite& message) {
    std::string bytes = message.SerializeAsString();
    if (bytes.size() > protocol::kMaxPayload) {
        throw Failure(proto::UNSUPPORTED, "an answer of " + std::to_string(bytes.size()) +
                                              " bytes is more than the protocol allows");
    }
    append(type, stream, std::as_bytes(std::span(bytes)));
}

void Connection::throw_if_cancelled() const {
    if (pending_.front().cancelled) throw Cancelled();
}

void Connection::wait_for_credit(size_t bytes) {
    throw_if_cancelled();
    while (send_credit_ < bytes) {
        flush();
        pump();
        throw_if_cancelled();
    }
}

void Connection::send_item(const proto::Item& item) {
    size_t size = item.ByteSizeLong();
    wait_for_credit(std::min<size_t>(size, protocol::kMaxPayload));
    append_message(FrameType::kItem, pending_.front().stream, item);
    send_credit_ -= static_cast<uint32_t>(size);
    unacknowledged_ += static_cast<uint32_t>(size);
}

std::span<std::byte> Connection::data_room(size_t wanted) {
    wait_for_credit(1);
    size_t size = std::min({wanted, kDataChunk, static_cast<size_t>(send_credit_)});
    return {reserve(kHeader + size) + kHeader, size};
}

void Connection::send_data(size_t count) {
    if (count == 0) return;
    FrameHeader header =
        protocol::make_header(FrameType::kData, pending_.front().stream, static_cast<uint32_t>(count));
    std::memcpy(buffer_.get() + gathered_, &header, kHeader);
    gathered_ += kHeader + count;
    send_credit_ -= static_cast<uint32_t>(count);
    unacknowledged_ += static_cast<uint32_t>(count);
    if (gathered_ >= kDataChunk) flush();
}

// ---- receiving

Connection::Upload Connection::receive() {
    flush();
    throw_if_cancelled();
    while (pending_.front().uploads.empty()) {
        pump();
        throw_if_cancelled();
    }
    Pending& current = pending_.front();
    Upload upload = std::move(current.uploads.front());
    current.uploads.pop_front();
    queued_bytes_ -= upload.payload.size();
    ungranted_ += static_cast<uint32_t>(upload.payload.size());
    if (ungranted_ >= protocol::kCreditStep && !current.upload_ended) {
        le32 credit = ungranted_;
        append(FrameType::kCredit, current.stream, std::as_bytes(std::span(&credit, 1)));
        flush();
        current.receive_credit += ungranted_;
        ungranted_ = 0;
    }
    return upload;
}

void Connection::look_ahead(const std::function<bool(const std::string& payload)>& look) const {
    for (size_t i = 1; i < pending_.size(); ++i)
        if (pending_[i].cancelled || !look(pending_[i].payload)) return;
}

void Connection::check_cancelled() {
    uint64_t now = now_ns();
    if (now - last_heard_ns_ < kHearEveryNs) return;
    last_heard_ns_ = now;
    for (;;) {
        pollfd input{in_, POLLIN, 0};
        if (::poll(&input, 1, 0) <= 0 || !(input.revents & (POLLIN | POLLHUP | POLLERR))) break;
        pump();
    }
    throw_if_cancelled();
    std::unique_lock lock(out_mutex_);
    const bool due = now - last_sign_ns_ > to_ns(kSignEvery);
    lock.unlock();
    if (due) {
        le32 nothing = 0;
        append(FrameType::kCredit, pending_.front().stream, std::as_bytes(std::span(&nothing, 1)));
        flush();
    }
}

// Reads once, waiting if need be, and takes in all whole frames.
void Connection::pump() {
    std::span<std::byte> room = parser_.room(std::max(kReadSize, parser_.missing()));
    ssize_t n;
    do {
        n = ::read(in_, room.data(), room.size());
        if (n < 0 && errno == EAGAIN) {
            pollfd wait{in_, POLLIN, 0};
            ::poll(&wait, 1, -1);
        }
    } while (n < 0 && (errno == EINTR || errno == EAGAIN));
    if (n < 0) throw ConnectionLost("cannot read from the host: " + errno_text(errno));
    if (n == 0) {
        ended_ = true;
        throw ConnectionLost("the host closed the connection");
    }
    parser_.filled(static_cast<size_t>(n));
    try {
        while (std::optional<Frame> frame = parser_.next()) handle(*frame);
    } catch (const Error& error) {
        throw ConnectionLost(error.message());
    }
}

void Connection::handle(const Frame& frame) {
    auto text = [&] {
        return std::string(reinterpret_cast<const char*>(frame.payload.data()), frame.payload.size());
    };
    switch (frame.type) {
        case FrameType::kRequest: {
            if (frame.stream == 0 || !protocol::is_later(frame.stream, last_stream_))
                throw ConnectionLost("a request's number is not new");
            if (pending_.size() >= protocol::kMaxPendingRequests)
                throw ConnectionLost("too many requests at once");
            queued_bytes_ += frame.payload.size();
            if (queued_bytes_ > kMaxQueued) throw ConnectionLost("too much was sent ahead");
            last_stream_ = frame.stream;
            Pending request{};
            request.stream = frame.stream;
            request.payload = text();
            pending_.push_back(std::move(request));
            return;
        }
        case FrameType::kItem:
        case FrameType::kData:
        case FrameType::kEnd:
            return handle_upload(frame);
        case FrameType::kCredit: {
            le32 credit;
            if (frame.payload.size() != sizeof credit) throw ConnectionLost("a credit of the wrong size");
            if (protocol::is_later(frame.stream, last_stream_))
                throw ConnectionLost("credit for a request that was never made");
            if (!at_work_ || frame.stream != pending_.front().stream) return;  // answered meanwhile
            std::memcpy(&credit, frame.payload.data(), sizeof credit);
            if (credit > unacknowledged_) throw ConnectionLost("credit for what was not sent");
            unacknowledged_ -= credit;
            send_credit_ += credit;
            return;
        }
        case FrameType::kCancel:
            if (protocol::is_later(frame.stream, last_stream_))
                throw ConnectionLost("a request that was never made is cancelled");
            for (Pending& request : pending_) {
                if (request.stream == frame.stream) request.cancelled = request.upload_ended = true;
            }
            return;
        default:
            throw ConnectionLost("a frame that only the agent may send");
    }
}

void Connection::handle_upload(const Frame& frame) {
    if (protocol::is_later(frame.stream, last_stream_))
        throw ConnectionLost("data for a request that was never made");
    for (Pending& request : pending_) {
        if (request.stream != frame.stream) continue;
        if (request.upload_ended) throw ConnectionLost("data after the end of an upload");
        if (frame.payload.size() > request.receive_credit)
            throw ConnectionLost("more data than there is credit for");
        // Empty frames cost no credit; dropping them bounds the queue.
        if (frame.payload.empty() && frame.type != FrameType::kEnd) return;
        queued_bytes_ += frame.payload.size();
        if (queued_bytes_ > kMaxQueued) throw ConnectionLost("too much was sent ahead");
        request.receive_credit -= static_cast<uint32_t>(frame.payload.size());
        request.upload_ended = frame.type == FrameType::kEnd;
        request.uploads.push_back(
            {frame.type,
             std::string(reinterpret_cast<const char*>(frame.payload.data()), frame.payload.size())});
        return;
    }
    // It was answered already: what still arrives of it is dropped.
}

}  // namespace inspect::agent
