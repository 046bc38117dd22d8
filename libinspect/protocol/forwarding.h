// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Forwarding: byte streams between a listener in the appliance and a service of the host's, as
// proto::Forwarded pieces on the stream of a RunProgram. Each end has one of these objects; it moves bytes
// between its sockets and the messages.
//
//   program -- TCP on 127.0.0.1 -- the agent's socket == messages == the host's socket -- service
//
// The agent accepts a connection, gives it the next number (from 1) and says `opened`; the host then connects
// to the service. From there on both ends do the same: what the socket gives is sent as `data`, its end as
// `end`, an error as `reset`. A connection is over when both have said `end`, or either `reset`; what arrives
// for it later is dropped.
//
// Flow control, apart from that of the whole stream: on each connection an end has at most kWindow bytes on
// their way that the other hasn't passed on to its socket (`passed_on` says how many more it has). So no slow
// reader holds up the other connections, and memory is bounded by kMaxConnections windows.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <string>

#include "base/fd.h"
#include "protocol/insp.pb.h"

namespace inspect::protocol {

// Not thread-safe. Does not wait for any socket.
class Forwarding {
  public:
    static constexpr uint32_t kWindow = 256 << 10;
    static constexpr size_t kMaxConnections = 32;

    // A connected (or connecting) socket to the service; none: it can't be reached. Must not throw.
    using Connect = std::function<Fd()>;
    // False when there is no use in going on. May call receive().
    using Send = std::function<bool(const proto::Forwarded&)>;

    // `connect` is for the host; the agent has none and calls accepted(). Throws Error.
    explicit Forwarding(Connect connect = {});

    // The agent has accepted a connection. There must be room().
    void accepted(Fd socket, const Send& send);
    bool room() const { return connections_.size() < kMaxConnections; }

    // What the other end says. False: it broke a rule. Nothing is sent from in here.
    [[nodiscard]] bool receive(const proto::Forwarded& piece);
    // Moves what can be moved: to be called when ready_fd() is readable.
    void work(const Send& send);
    // Readable when work() has something to do. Ours.
    int ready_fd() const { return poll_.get(); }

  private:
    struct Connection {
        Fd socket;
        uint32_t watched = 0;  // events that ready_fd() waits for
        uint32_t may_send = kWindow;
        std::string to_socket = {};  // came from the other end
        uint32_t passed_on = 0;      // and not yet told
        bool we_ended = false;
        bool they_ended = false;
        bool shut_down = false;  // the socket knows that they ended
        bool failed = false;     // we have to say reset
        bool over = false;
    };

    Connection& add(Fd socket);
    void watch(Connection& connection);
    void flush(Connection& connection);
    bool forward(uint32_t number, Connection& connection, const Send& send);
    bool step(uint32_t number, Connection& connection, const Send& send);
    void wake();

    Connect connect_;
    Fd poll_;  // an epoll of all sockets and wake_
    Fd wake_;  // an eventfd: receive() left something to do
    uint32_t last_ = 0;
    std::map<uint32_t, Connection> connections_;  // its iterators stay valid while receive() adds to it
    std::string buffer_;
};

}  // namespace inspect::protocol
