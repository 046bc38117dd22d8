// SPDX-License-Identifier: LGPL-2.1-or-later
#include "guest/connection.h"

#include <string.h>

#include <algorithm>
#include <cstring>
#include <exception>
#include <string>
#include <utility>

namespace inspect {

using protocol::Frame;
using protocol::FrameType;

namespace {

constexpr size_t kReadSize = 16 << 10;   // enough for most answers; large frames ask for what they miss
constexpr size_t kSendSize = 256 << 10;  // an upload is written in pieces of about this

std::span<const std::byte> bytes_of(const le32& number) { return std::as_bytes(std::span(&number, 1)); }

template <typename Bytes>
void wipe(Bytes& bytes) {
    ::explicit_bzero(bytes.data(), bytes.size());
}

// An item or a response; what doesn't parse is the peer's fault.
template <typename Message>
Message parse(const Frame& frame, const char* what) {
    Message message;
    if (!message.ParseFromArray(frame.payload.data(), static_cast<int>(frame.payload.size())))
        throw ProtocolError(std::string(what) + " that is none");
    return message;
}

}  // namespace

// What is on its way between a batch's first byte and its last answer.
struct Connection::Exchange {
    const Handlers& handlers;
    uint32_t first;  // the streams are [first, first + count)
    size_t count;
    std::vector<proto::Response> answers;
    bool failed = false;  // an answer was not a success

    // All of these are about the last stream.
    uint32_t send_credit = protocol::kInitialCredit;
    uint32_t receive_credit = protocol::kInitialCredit;
    uint32_t consumed = 0;      // and not yet granted back
    bool cancelled = false;     // kCancel was sent
    std::exception_ptr thrown;  // by a handler

    bool done() const { return answers.size() == count; }
    uint32_t last() const { return first + static_cast<uint32_t>(count) - 1; }
    // The stream that the agent works on.
    uint32_t current() const { return first + static_cast<uint32_t>(answers.size()); }
};

Connection::Outcome Connection::run(std::vector<proto::Request>& batch, const Handlers& last) {
    if (broken_) throw Error(ErrorKind::kEngine, "the connection to the appliance is broken");
    if (batch.empty() || batch.size() > kMaxBatch)
        throw Error(ErrorKind::kInternal, "a batch of " + std::to_string(batch.size()) + " requests");
    if (next_stream_ > UINT32_MAX - kMaxBatch) next_stream_ = 1;
    Exchange exchange{
        .handlers = last, .first = next_stream_, .count = batch.size(), .answers = {}, .thrown = {}};
    queue_requests(batch);
    if (last.upload) {
        Upload upload(*this, exchange);
        try {
            last.upload(upload);
        } catch (...) {
            if (broken_) throw;
            exchange.thrown = std::current_exception();
        }
        bool complete = !exchange.thrown && !exchange.failed && !exchange.done();
        queue(complete ? FrameType::kEnd : FrameType::kCancel, exchange.last(), {});
        exchange.cancelled = true;  // nothing more may be sent on it
    }
    while (!exchange.done()) {
        send(exchange);
        if (!exchange.done()) receive(exchange);
    }
    return {std::move(exchange.answers), exchange.thrown};
}

void Connection::queue(FrameType type, uint32_t stream, std::span<const std::byte> payload) {
    protocol::append_frame(out_, type, stream, payload);
}

void Connection::queue_requests(std::vector<proto::Request>& batch) {
    std::vector<std::string> serialised;
    for (proto::Request& request : batch) {
        request.set_after_success(!serialised.empty());
        serialised.push_back(request.SerializeAsString());
        if (serialised.back().size() > protocol::kMaxRequest)
            throw Error(ErrorKind::kUsage, "the paths and options of a request are too long: " +
                                               std::to_string(serialised.back().size()) + " bytes");
    }
    // The keys in a Wake are overwritten wherever they have been: so the buffer must not move, either.
    size_t room = out_.size();
    for (const std::string& bytes : serialised) room += sizeof(protocol::FrameHeader) + bytes.size();
    out_.reserve(room);
    for (size_t i = 0; i < batch.size(); ++i) {
        queue(FrameType::kRequest, next_stream_++, std::as_bytes(std::span(serialised[i])));
        if (!batch[i].has_wake()) continue;
        for (proto::Wake::Key& key : *batch[i].mutable_wake()->mutable_keys()) wipe(*key.mutable_secret());
        wipe(serialised[i]);
        secret_ = true;
    }
}

// What the agent says meanwhile is heard: it may be waiting for that, and not read before.
void Connection::send(Exchange& exchange) {
    while (!out_.empty()) {
        std::vector<std::byte> sending = std::exchange(out_, {});
        const bool secret = std::exchange(secret_, false);
        try {
            channel_.write(sending, [&] { receive(exchange); });
        } catch (...) {
            broken_ = true;
            if (secret) wipe(sending);
            throw;
        }
        if (secret) wipe(sending);
    }
}

bool Connection::readable() {
    try {
        return channel_.readable();
    } catch (...) {
        broken_ = true;
        throw;
    }
}

Channel::Ready Connection::wait_with(int fd) {
    try {
        return channel_.wait_with(fd, options_.silence);
    } catch (...) {
        broken_ = true;
        throw;
    }
}

// Reads once and works on all whole frames that are there then. What is to be said to that is queued.
void Connection::receive(Exchange& exchange) {
    try {
        std::span<std::byte> room = parser_.room(std::max(kReadSize, parser_.missing()));
        size_t count = channel_.read(room, options_.silence);
        if (count == 0) throw Error(ErrorKind::kEngine, "the appliance closed the connection");
        parser_.filled(count);
        while (std::optional<Frame> frame = parser_.next()) handle(exchange, *frame);
    } catch (...) {
        broken_ = true;
        throw;
    }
}

void Connection::handle(Exchange& exchange, const Frame& frame) {
    if (exchange.done()) throw ProtocolError("a frame that nobody waits for");
    switch (frame.type) {
        case FrameType::kResponse:
            return handle_response(exchange, frame);
        case FrameType::kItem:
        case FrameType::kData:
            return handle_stream(exchange, frame);
        case FrameType::kCredit: {
            le32 credit;
            if (frame.payload.size() != sizeof credit) throw ProtocolError("a credit of the wrong size");
            std::memcpy(&credit, frame.payload.data(), sizeof credit);
            // No credit is a sign of life of the request at work.
            if (credit == 0 && frame.stream == exchange.current()) return;
            if (frame.stream != exchange.last() || !exchange.handlers.upload ||
                credit > protocol::kInitialCredit - exchange.send_credit)
                throw ProtocolError("credit for what was not sent");
            exchange.send_credit += credit;
            return;
        }
        default:
            throw ProtocolError("a frame of type " + std::to_string(static_cast<int>(frame.type)));
    }
}

void Connection::handle_response(Exchange& exchange, const Frame& frame) {
    if (frame.stream != exchange.current())
        throw ProtocolError("an answer to request " + std::to_string(frame.stream) + " in place of " +
                            std::to_string(exchange.current()));
    proto::Response response = parse<proto::Response>(frame, "an answer");
    if (response.skipped() != exchange.failed || (response.skipped() && response.has_failure()))
        throw ProtocolError("an answer that does not fit the ones before");
    exchange.failed = exchange.failed || response.has_failure();
    exchange.answers.push_back(std::move(response));
}

void Connection::handle_stream(Exchange& exchange, const Frame& frame) {
    if (frame.stream != exchange.last() || exchange.current() != exchange.last() || exchange.failed)
        throw ProtocolError("data of a request that is not at work");
    // Empty frames would cost no credit and could come forever.
    if (frame.payload.empty()) throw ProtocolError("an empty frame of data");
    if (frame.payload.size() > exchange.receive_credit)
        throw ProtocolError("more data than there is credit for");
    exchange.receive_credit -= static_cast<uint32_t>(frame.payload.size());
    if (exchange.thrown) return;  // the rest of what was cancelled
    deliver(exchange, frame);
    if (!exchange.thrown) grant(exchange, frame.payload.size());
}

void Connection::deliver(Exchange& exchange, const Frame& frame) {
    const Handlers& handlers = exchange.handlers;
    bool data = frame.type == FrameType::kData;
    if (data ? !handlers.on_data : !handlers.on_item)
        throw ProtocolError(data ? "data where none belongs" : "an item where none belongs");
    proto::Item item;
    if (!data) item = parse<proto::Item>(frame, "an item");
    try {
        if (data) {
            handlers.on_data(frame.payload);
        } else {
            handlers.on_item(item);
        }
    } catch (const ProtocolError&) {
        throw;  // the handler found the item to be against the rules
    } catch (...) {
        exchange.thrown = std::current_exception();
    }
    if (exchange.thrown && !exchange.cancelled) {
        queue(FrameType::kCancel, exchange.last(), {});
        exchange.cancelled = true;
    }
}

void Connection::grant(Exchange& exchange, size_t consumed) {
    exchange.consumed += static_cast<uint32_t>(consumed);
    if (exchange.consumed < protocol::kCreditStep) return;
    le32 credit{};
    credit = exchange.consumed;
    queue(FrameType::kCredit, exchange.last(), bytes_of(credit));
    exchange.receive_credit += exchange.consumed;
    exchange.consumed = 0;
}

bool Connection::Upload::ended() { return exchange_.failed || exchange_.done() || exchange_.thrown; }

bool Connection::Upload::wait(int fd) {
    while (!ended()) {
        connection_.send(exchange_);
        if (ended()) return false;
        Channel::Ready ready = connection_.wait_with(fd);
        if (ready.channel) connection_.receive(exchange_);
        if (ready.fd) return !ended();
    }
    return false;
}

// Waits until `bytes` may be sent.
bool Connection::Upload::reserve(size_t bytes) {
    while (!ended() && exchange_.send_credit < bytes) {
        connection_.send(exchange_);
        if (!ended() && exchange_.send_credit < bytes) connection_.receive(exchange_);
    }
    if (ended()) return false;
    exchange_.send_credit -= static_cast<uint32_t>(bytes);
    return true;
}

bool Connection::Upload::item(const proto::Item& item) {
    std::string bytes = item.SerializeAsString();
    if (bytes.size() > protocol::kMaxPayload)
        throw Error(ErrorKind::kInternal, "an item of " + std::to_string(bytes.size()) + " bytes");
    if (!reserve(bytes.size())) return false;
    connection_.queue(FrameType::kItem, exchange_.last(), std::as_bytes(std::span(bytes)));
    return pump();
}

bool Connection::Upload::data(std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
        std::span<const std::byte> piece = bytes.first(std::min<size_t>(bytes.size(), protocol::kMaxPayload));
        if (!reserve(piece.size())) return false;
        connection_.queue(FrameType::kData, exchange_.last(), piece);
        if (!pump()) return false;
        bytes = bytes.subspan(piece.size());
    }
    return !ended();
}

// Writes what has gathered, when it is worth a write, and hears what the agent says meanwhile.
bool Connection::Upload::pump() {
    if (connection_.out_.size() < kSendSize) return !ended();
    connection_.send(exchange_);
    while (!ended() && connection_.readable()) connection_.receive(exchange_);
    return !ended();
}

}  // namespace inspect
