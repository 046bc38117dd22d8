// SPDX-License-Identifier: LGPL-2.1-or-later
//
// SocketChannel: a Channel over a stream socket, whose other end is in the process that runs the appliance.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include <inspect/error.h>

#include "engine/channel.h"

namespace inspect {

class SocketChannel : public Channel {
  public:
    // Makes of `what` went wrong with the channel an error that says what became of the appliance. gone: its
    // end of the socket is closed, so its process has ended or is about to.
    using Explain = std::function<Error(const std::string& what, bool gone)>;

    // The descriptors stay the caller's; interrupt_fd is EngineOptions'.
    SocketChannel(int socket, int interrupt_fd, Explain explain)
        : socket_(socket), interrupt_fd_(interrupt_fd), explain_(std::move(explain)) {}

    void write(std::span<const std::byte> in, const std::function<void()>& hear = {}) override;
    size_t read(std::span<std::byte> out, std::chrono::milliseconds timeout) override;
    bool readable() override;
    Ready wait_with(int fd, std::chrono::milliseconds timeout) override;
    size_t write_some(std::span<const std::byte> in) override;
    int descriptor() const override { return socket_; }

    uint64_t bytes_in() const { return bytes_in_; }    // to the appliance
    uint64_t bytes_out() const { return bytes_out_; }  // from it

  private:
    bool wait(short events, std::chrono::milliseconds timeout);
    Ready wait(short events, int fd, std::chrono::milliseconds timeout);
    Error silence(std::chrono::milliseconds timeout) const;

    int socket_;
    int interrupt_fd_;
    Explain explain_;
    uint64_t bytes_in_ = 0;
    uint64_t bytes_out_ = 0;
};

}  // namespace inspect
