// SPDX-License-Identifier: GPL-2.0-or-later
//
// For tests: a Machine whose agent runs in a thread of this process, on a directory of the host. Everything
// that is not mounting is as it is for real.
#pragma once

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "agent.h"
#include "base/fd.h"
#include "engine/engine.h"
#include "protocol/frame.h"

namespace inspect {

// The library's end of a socket to the agent. Requests that need a machine (waking, mounting) become pings:
// the agent has its tree already.
class AgentChannel final : public Channel {
  public:
    explicit AgentChannel(Fd socket) : socket_(std::move(socket)) {}

    void write(std::span<const std::byte> in, const std::function<void()>& = {}) override {
        std::ranges::copy(in, parser_.room(in.size()).begin());
        parser_.filled(in.size());
        std::vector<std::byte> out;
        while (auto frame = parser_.next()) {
            std::string payload(reinterpret_cast<const char*>(frame->payload.data()), frame->payload.size());
            proto::Request request;
            if (frame->type == protocol::FrameType::kRequest && request.ParseFromString(payload) &&
                (request.has_wake() || request.has_mount() || request.has_mount_os() ||
                 request.has_finish())) {
                request.mutable_ping();
                payload = request.SerializeAsString();
            }
            protocol::append_frame(out, frame->type, frame->stream, std::as_bytes(std::span(payload)));
        }
        send(out);
    }

    size_t read(std::span<std::byte> out, std::chrono::milliseconds timeout) override {
        if (backlog_.empty()) {
            pollfd descriptor{socket_.get(), POLLIN, 0};
            if (poll(&descriptor, 1, static_cast<int>(timeout.count())) != 1)
                throw Error(ErrorKind::kEngine, "the agent does not answer");
            ssize_t count = ::read(socket_.get(), out.data(), out.size());
            if (count <= 0) throw Error(ErrorKind::kEngine, "the agent is gone");
            return static_cast<size_t>(count);
        }
        size_t count = std::min(out.size(), backlog_.size());
        std::copy_n(backlog_.begin(), count, out.begin());
        backlog_.erase(backlog_.begin(), backlog_.begin() + static_cast<std::ptrdiff_t>(count));
        return count;
    }

    bool readable() override {
        pollfd descriptor{socket_.get(), POLLIN, 0};
        return !backlog_.empty() || poll(&descriptor, 1, 0) == 1;
    }

    Ready wait_with(int fd, std::chrono::milliseconds timeout) override {
        pollfd descriptors[] = {{socket_.get(), POLLIN, 0}, {fd, POLLIN, 0}};
        if (poll(descriptors, 2, backlog_.empty() ? static_cast<int>(timeout.count()) : 0) == 0 &&
            backlog_.empty())
            throw Error(ErrorKind::kEngine, "the agent does not answer");
        return {!backlog_.empty() || descriptors[0].revents != 0, descriptors[1].revents != 0};
    }

    // For a Pipeline, whose requests need no machine: they go as they are.
    size_t write_some(std::span<const std::byte> in) override {
        ssize_t count = ::send(socket_.get(), in.data(), in.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
        if (count < 0 && errno != EAGAIN) throw Error(ErrorKind::kEngine, "the agent is gone");
        return count < 0 ? 0 : static_cast<size_t>(count);
    }
    int descriptor() const override { return socket_.get(); }

  private:
    // Both sides may be writing: what comes meanwhile is kept.
    void send(std::span<const std::byte> out) {
        while (!out.empty()) {
            pollfd descriptor{socket_.get(), POLLIN | POLLOUT, 0};
            if (poll(&descriptor, 1, 10'000) != 1) throw Error(ErrorKind::kEngine, "the agent does not read");
            if (descriptor.revents & POLLOUT) {
                ssize_t count = ::send(socket_.get(), out.data(), out.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
                if (count > 0) out = out.subspan(static_cast<size_t>(count));
                if (count < 0 && errno != EAGAIN) throw Error::from_errno("write to the agent", errno);
            } else {
                std::byte chunk[4096];
                ssize_t count = ::read(socket_.get(), chunk, sizeof chunk);
                if (count <= 0) throw Error(ErrorKind::kEngine, "the agent is gone");
                backlog_.insert(backlog_.end(), chunk, chunk + count);
            }
        }
    }

    Fd socket_;
    protocol::FrameParser parser_;
    std::vector<std::byte> backlog_;
};

// The agent, in a thread.
class AgentMachine final : public Machine {
  public:
    explicit AgentMachine(const std::string& sysroot) {
        std::signal(SIGPIPE, SIG_IGN);  // as the agent's main() does
        int fds[2];
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) != 0)
            throw Error::from_errno("make a socket pair", errno);
        agent_side_ = Fd(fds[1]);
        agent_ = std::thread([this, sysroot] {
            try {
                agent::Connection connection(agent_side_.get(), agent_side_.get());
                agent::Agent(connection, open_file(sysroot, O_PATH | O_DIRECTORY), true).run();
            } catch (const std::exception& error) {
                lost_ = error.what();
            }
            shutdown(agent_side_.get(), SHUT_RDWR);
        });
        Fd host(fds[0]);
        read_hello(host);
        socket_ = host.get();
        channel_ = std::make_unique<AgentChannel>(std::move(host));
    }
    ~AgentMachine() override { AgentMachine::stop(true); }

    Channel& channel() override { return *channel_; }
    void stop(bool) override {
        if (!agent_.joinable()) return;
        shutdown(socket_, SHUT_RDWR);
        agent_.join();
    }
    SessionStats stats() const override { return {}; }
    std::string console_tail() const override { return lost_; }

  private:
    static void read_hello(const Fd& host) {
        protocol::FrameHeader header;
        read_full(host.get(), std::as_writable_bytes(std::span(&header, 1)), "read the hello");
        std::vector<std::byte> payload(header.length);
        read_full(host.get(), payload, "read the hello");
    }

    Fd agent_side_;
    int socket_ = -1;
    std::thread agent_;
    std::string lost_;
    std::unique_ptr<AgentChannel> channel_;
};

}  // namespace inspect
