// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Pipeline: many requests on their way at once, and nobody waits. What Connection is for a command, this is
// for a mount: requests are queued by submit(), sent together by send(), and answered by callbacks out of
// receive(), in the order in which they were submitted.
//
// The peer is not trusted: a frame that breaks a rule throws ProtocolError, and the pipeline is broken for
// good. Memory is bounded by what the caller's requests allow to be answered.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <span>
#include <vector>

#include "engine/channel.h"
#include "protocol/frame.h"
#include "protocol/insp.pb.h"

namespace inspect {

// Not thread-safe, but callbacks may call submit(). Does not own the channel.
class Pipeline {
  public:
    struct Call {
        proto::Request request;
        // Completes the request when it is about to be sent: all that was submitted before it has been sent,
        // and if it is `alone`, answered. False: it is not sent at all (and who asked knows why).
        std::function<bool(proto::Request&)> prepare = {};
        // The answer; `broken` has no answer: the appliance is gone. Never called from submit(). A request
        // that is too long for the protocol is answered here, by ENAMETOOLONG.
        std::function<void(const proto::Response&)> answered = {};
        std::function<void()> broken = {};
        std::function<void(std::span<const std::byte>)> on_data = {};
        std::function<void(const proto::Item&)> on_item = {};
        // Bytes of data and items that the answer may have; more is an error of the peer. Below
        // protocol::kInitialCredit: credit is never granted.
        uint32_t most_bytes = 0;
        // Nothing else is on its way meanwhile.
        bool alone = false;
    };

    Pipeline(Channel& channel, uint32_t next_stream) : channel_(channel), next_stream_(next_stream) {}
    Pipeline(const Pipeline&) = delete;
    Pipeline& operator=(const Pipeline&) = delete;

    void submit(Call call);
    // Sends what may be sent without waiting. Throws Error(kEngine), after which break_off() is due.
    void send();
    // Reads once and works on what has arrived. Throws Error(kEngine).
    void receive();
    // Everything that is unanswered gets broken(), and so will whatever is submitted from now on, at the next
    // send().
    void break_off();

    // What to wait for: true while bytes wait to be written.
    bool wants_to_write() const { return written_ < out_.size(); }
    bool idle() const { return sent_.empty() && waiting_.empty(); }
    size_t unanswered() const { return sent_.size() + waiting_.size(); }
    // When a byte was last received, or a request sent while there was none before it.
    std::chrono::steady_clock::time_point last_sign() const { return last_sign_; }
    uint32_t next_stream() const { return next_stream_; }
    bool is_broken() const { return is_broken_; }
    uint64_t round_trips() const { return round_trips_; }

  private:
    struct Sent {
        Call call;
        uint32_t stream;
        uint32_t bytes;  // of the request
        uint32_t received = 0;
    };

    bool may_send(const Call& call) const;
    bool queue_next();
    void handle(const protocol::Frame& frame);
    void handle_stream(Sent& current, const protocol::Frame& frame);

    Channel& channel_;
    uint32_t next_stream_;
    protocol::FrameParser parser_;
    std::deque<Call> waiting_;
    std::deque<Sent> sent_;
    size_t sent_bytes_ = 0;  // requests in sent_
    std::vector<std::byte> out_;
    size_t written_ = 0;  // of out_
    bool is_broken_ = false;
    uint64_t round_trips_ = 0;
    std::chrono::steady_clock::time_point last_sign_ = std::chrono::steady_clock::now();
};

}  // namespace inspect
