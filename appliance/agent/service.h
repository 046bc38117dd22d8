// SPDX-License-Identifier: GPL-2.0-or-later
//
// A service of the host's at a port of 127.0.0.1, for a program that runs: the agent's end of
// protocol/forwarding.h.
#pragma once

#include "connection.h"
#include "protocol/forwarding.h"

namespace inspect::agent {

class Service {
  public:
    // Listens. Throws Failure.
    explicit Service(uint32_t port);

    // Accepts who waits, and moves what can be moved, without waiting for them.
    void work(Connection& connection);
    // What to poll for reading before work(). -1: no more connections now.
    int ready_fd() const { return forwarding_.ready_fd(); }
    int listener_fd() const { return forwarding_.room() ? listener_.get() : -1; }
    // False: the host broke a rule.
    [[nodiscard]] bool receive(const proto::Forwarded& piece) { return forwarding_.receive(piece); }

  private:
    Fd listener_;
    protocol::Forwarding forwarding_;
};

}  // namespace inspect::agent
