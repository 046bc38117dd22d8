// SPDX-License-Identifier: LGPL-2.1-or-later
#include "guest/pipeline.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>
#include <utility>

#include "guest/connection.h"

namespace inspect {

using protocol::Frame;
using protocol::FrameType;

namespace {

// As much as frame.h lets a host send ahead, less a request that is the largest.
constexpr size_t kMostSentBytes = protocol::kInitialCredit - protocol::kMaxRequest;
constexpr size_t kReadSize = 256 << 10;

}  // namespace

void Pipeline::submit(Call call) { waiting_.push_back(std::move(call)); }

bool Pipeline::may_send(const Call& call) const {
    if (sent_.empty()) return true;
    if (call.alone || sent_.back().call.alone) return false;
    return sent_.size() < protocol::kMaxPendingRequests && sent_bytes_ < kMostSentBytes;
}

// Moves the first of the waiting calls to the sent ones, or fails it. False when there is none that may go
// now.
bool Pipeline::queue_next() {
    if (waiting_.empty() || !may_send(waiting_.front())) return false;
    Call call = std::move(waiting_.front());
    waiting_.pop_front();
    if (call.prepare && !call.prepare(call.request)) return true;
    std::string bytes = call.request.SerializeAsString();
    if (bytes.size() > protocol::kMaxRequest) {
        // The names of a place, mostly: a tree may be deeper than that.
        proto::Response response;
        response.mutable_failure()->set_kind(proto::USAGE);
        response.mutable_failure()->set_errnum(ENAMETOOLONG);
        if (call.answered) call.answered(response);
        return true;
    }
    call.request.Clear();
    protocol::append_frame(out_, FrameType::kRequest, next_stream_, std::as_bytes(std::span(bytes)));
    if (sent_.empty()) last_sign_ = std::chrono::steady_clock::now();
    sent_bytes_ += bytes.size();
    sent_.push_back({std::move(call), next_stream_, static_cast<uint32_t>(bytes.size())});
    next_stream_ = protocol::stream_after(next_stream_);
    return true;
}

void Pipeline::send() {
    if (is_broken_) return break_off();
    while (queue_next()) {
    }
    if (!wants_to_write()) return;
    written_ += channel_.write_some(std::span(out_).subspan(written_));
    if (wants_to_write()) return;
    out_.clear();
    written_ = 0;
}

void Pipeline::receive() {
    std::span<std::byte> room = parser_.room(std::max(kReadSize, parser_.missing()));
    size_t count = channel_.read(room, std::chrono::milliseconds(1000));
    if (count == 0) throw Error(ErrorKind::kEngine, "the appliance closed the connection");
    parser_.filled(count);
    last_sign_ = std::chrono::steady_clock::now();
    ++round_trips_;
    while (std::optional<Frame> frame = parser_.next()) handle(*frame);
}

void Pipeline::handle(const Frame& frame) {
    if (sent_.empty()) throw ProtocolError("a frame that nobody waits for");
    Sent& current = sent_.front();
    if (frame.stream != current.stream)
        throw ProtocolError("a frame of request " + std::to_string(frame.stream) + " in place of " +
                            std::to_string(current.stream));
    switch (frame.type) {
        case FrameType::kCredit: {
            // No upload is ever sent here, so it can only be a sign of life.
            le32 credit;
            if (frame.payload.size() != sizeof credit) throw ProtocolError("a credit of the wrong size");
            std::memcpy(&credit, frame.payload.data(), sizeof credit);
            if (credit != 0) throw ProtocolError("credit for what was not sent");
            return;
        }
        case FrameType::kItem:
        case FrameType::kData:
            return handle_stream(current, frame);
        case FrameType::kResponse: {
            proto::Response response;
            if (!response.ParseFromArray(frame.payload.data(), static_cast<int>(frame.payload.size())) ||
                response.skipped())
                throw ProtocolError("an answer that is none");
            Call call = std::move(current.call);
            sent_bytes_ -= current.bytes;
            sent_.pop_front();
            if (call.answered) call.answered(response);
            return;
        }
        default:
            throw ProtocolError("a frame of type " + std::to_string(static_cast<int>(frame.type)));
    }
}

void Pipeline::handle_stream(Sent& current, const Frame& frame) {
    if (frame.payload.empty()) throw ProtocolError("an empty frame of data");
    if (frame.payload.size() > current.call.most_bytes - current.received)
        throw ProtocolError("more data than was asked for");
    current.received += static_cast<uint32_t>(frame.payload.size());
    if (frame.type == FrameType::kData) {
        if (!current.call.on_data) throw ProtocolError("data where none belongs");
        return current.call.on_data(frame.payload);
    }
    proto::Item item;
    if (!current.call.on_item) throw ProtocolError("an item where none belongs");
    if (!item.ParseFromArray(frame.payload.data(), static_cast<int>(frame.payload.size())))
        throw ProtocolError("an item that is none");
    current.call.on_item(item);
}

void Pipeline::break_off() {
    is_broken_ = true;
    out_.clear();
    written_ = 0;
    // A callback may submit more: that is for the next time.
    std::deque<Sent> sent = std::exchange(sent_, {});
    std::deque<Call> waiting = std::exchange(waiting_, {});
    for (Sent& each : sent)
        if (each.call.broken) each.call.broken();
    for (Call& call : waiting)
        if (call.broken) call.broken();
}

}  // namespace inspect
