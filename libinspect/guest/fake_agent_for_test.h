// SPDX-License-Identifier: LGPL-2.1-or-later
//
// For tests and fuzzers: a Channel whose other end is a function in the same thread, and a Machine around it.
#pragma once

#include <poll.h>

#include <algorithm>
#include <cstring>
#include <deque>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/engine.h"
#include "protocol/frame.h"
#include "protocol/insp.pb.h"

namespace inspect {

// What is written goes, frame by frame, to `agent`, which answers by reply(). When nothing is left to read,
// read() throws as after a timeout.
class FakeChannel final : public Channel {
  public:
    using Agent = std::function<void(FakeChannel&, const protocol::Frame&)>;

    explicit FakeChannel(Agent agent) : agent_(std::move(agent)) {}

    void reply(protocol::FrameType type, uint32_t stream, std::string_view payload) {
        std::vector<std::byte> bytes;
        protocol::append_frame(bytes, type, stream, std::as_bytes(std::span(payload)));
        output_.insert(output_.end(), bytes.begin(), bytes.end());
    }
    void reply(uint32_t stream, const proto::Response& response) {
        reply(protocol::FrameType::kResponse, stream, response.SerializeAsString());
    }
    void reply(uint32_t stream, const proto::Item& item) {
        reply(protocol::FrameType::kItem, stream, item.SerializeAsString());
    }
    void reply_credit(uint32_t stream, uint32_t credit) {
        char bytes[4];
        le32 number{};
        number = credit;
        std::memcpy(bytes, &number, sizeof bytes);
        reply(protocol::FrameType::kCredit, stream, std::string_view(bytes, sizeof bytes));
    }
    void reply_raw(std::span<const std::byte> bytes) {
        output_.insert(output_.end(), bytes.begin(), bytes.end());
    }

    void write(std::span<const std::byte> in, const std::function<void()>& = {}) override {
        ++writes;
        std::ranges::copy(in, parser_.room(in.size()).begin());
        parser_.filled(in.size());
        while (auto frame = parser_.next()) {
            frames.emplace_back(frame->type, frame->stream);
            if (agent_) agent_(*this, *frame);
        }
    }
    size_t read(std::span<std::byte> out, std::chrono::milliseconds) override {
        if (output_.empty()) throw Error(ErrorKind::kEngine, "the appliance does not answer");
        size_t count = std::min(out.size(), output_.size());
        std::copy_n(output_.begin(), count, out.begin());
        output_.erase(output_.begin(), output_.begin() + static_cast<std::ptrdiff_t>(count));
        return count;
    }
    bool readable() override { return !output_.empty(); }
    Ready wait_with(int fd, std::chrono::milliseconds) override {
        pollfd other{fd, POLLIN, 0};
        Ready ready{readable(), ::poll(&other, 1, 0) > 0};
        if (!ready.channel && !ready.fd) throw Error(ErrorKind::kEngine, "the appliance does not answer");
        return ready;
    }
    size_t write_some(std::span<const std::byte> in) override {
        write(in);
        return in.size();
    }
    int descriptor() const override { return -1; }

    size_t writes = 0;                                             // how often write() was called
    std::vector<std::pair<protocol::FrameType, uint32_t>> frames;  // that were written

  private:
    Agent agent_;
    protocol::FrameParser parser_;
    std::deque<std::byte> output_;
};

// A machine that is nothing but its channel.
class FakeMachine final : public Machine {
  public:
    explicit FakeMachine(std::unique_ptr<Channel> channel) : channel_(std::move(channel)) {}

    Channel& channel() override { return *channel_; }
    void stop(bool) override {
        if (on_stop) on_stop();
    }
    SessionStats stats() const override { return {}; }
    std::string console_tail() const override { return "last words"; }

    std::function<void()> on_stop;

  private:
    std::unique_ptr<Channel> channel_;
};

}  // namespace inspect
