// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Connection: requests and answers over a Channel, as protocol/frame.h describes them.
//
// The peer is not trusted. Whatever it sends, a call here ends with the answer or with an Error, and holds no
// more memory than some frames; after a frame that breaks a rule the connection is broken for good.
#pragma once

#include <chrono>
#include <cstdint>
#include <exception>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include <inspect/error.h>

#include "engine/channel.h"
#include "protocol/frame.h"
#include "protocol/insp.pb.h"

namespace inspect {

// The peer sent what it must not.
class ProtocolError : public Error {
  public:
    explicit ProtocolError(const std::string& what)
        : Error(ErrorKind::kEngine, "the appliance broke the protocol: " + what) {}
};

// Not thread-safe, not reentrant. Does not own the channel.
class Connection {
  public:
    class Upload;

    // What the last request of a batch streams. Where a handler is missing, the frame is an error of the
    // peer. When one of them throws, the request is cancelled and its answer awaited; see Outcome.
    struct Handlers {
        std::function<void(const proto::Item&)> on_item = {};
        std::function<void(std::span<const std::byte>)> on_data = {};  // never empty
        std::function<void(Upload&)> upload = {};  // sends what the request is followed by
    };

    struct Options {
        // How long a pending request may go without a single byte from the agent. It is generous: on
        // software KVM a kernel that replays a journal is silent for long, and a kernel that died is
        // noticed otherwise.
        std::chrono::milliseconds silence = std::chrono::minutes(5);
    };

    // The most requests that a batch may have.
    static constexpr size_t kMaxBatch = protocol::kMaxPendingRequests;

    Connection(Channel& channel, Options options) : channel_(channel), options_(options) {}
    Connection(const Connection&) = delete;
    Connection& operator=(const Connection&) = delete;

    struct Outcome {
        // As many as requests: successes, then perhaps one failure, then skipped ones.
        std::vector<proto::Response> answers;
        std::exception_ptr thrown;  // by a handler
    };

    // Sends the requests in one write, together with the first of the upload; each but the first is only
    // worked on when the one before it succeeded. The keys of a Wake are overwritten. Throws Error(kUsage)
    // when a request is too long, and nothing was sent. Throws Error(kEngine) when the appliance is gone or
    // broke the protocol, Error(kCancelled) when the channel was interrupted; broken() is true then.
    Outcome run(std::vector<proto::Request>& batch, const Handlers& last);

    bool broken() const noexcept { return broken_; }

    // For a Pipeline, which speaks on the same channel between two calls of run(): the number of the next
    // stream, and what it is afterwards.
    uint32_t next_stream() const noexcept { return next_stream_; }
    void resume(uint32_t next_stream, bool broken) noexcept {
        next_stream_ = next_stream;
        broken_ = broken_ || broken;
    }

  private:
    friend class Upload;
    struct Exchange;

    void queue(protocol::FrameType type, uint32_t stream, std::span<const std::byte> payload);
    void queue_requests(std::vector<proto::Request>& batch);
    void send(Exchange& exchange);
    void receive(Exchange& exchange);
    void handle(Exchange& exchange, const protocol::Frame& frame);
    void handle_response(Exchange& exchange, const protocol::Frame& frame);
    void handle_stream(Exchange& exchange, const protocol::Frame& frame);
    void deliver(Exchange& exchange, const protocol::Frame& frame);
    void grant(Exchange& exchange, size_t consumed);
    bool readable();
    Channel::Ready wait_with(int fd);

    Channel& channel_;
    Options options_;
    protocol::FrameParser parser_;
    std::vector<std::byte> out_;  // queued, not yet written
    bool secret_ = false;         // there may be keys in it
    uint32_t next_stream_ = 1;
    bool broken_ = false;
};

// The host's half of a stream: what follows a WriteFile or WriteTree. The end is sent by the Connection.
class Connection::Upload {
  public:
    // Each returns false when the agent has answered already (it failed, or a request before it did): stop
    // sending then; the answer is what counts.
    bool item(const proto::Item& item);  // at most kMaxPayload bytes when serialised
    bool data(std::span<const std::byte> bytes);
    // Sends what has gathered and takes in what the agent sends, until `fd` is readable: true. False when
    // there is no use in going on.
    bool wait(int fd);
    // True when there is no use in going on.
    bool ended();

  private:
    friend class Connection;
    Upload(Connection& connection, Exchange& exchange) : connection_(connection), exchange_(exchange) {}
    bool reserve(size_t bytes);
    bool pump();

    Connection& connection_;
    Exchange& exchange_;
};

}  // namespace inspect
