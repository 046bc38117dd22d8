// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Where a server is, and a connected socket to it.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

#include "base/fd.h"

namespace inspect {

struct ServerAddress {
    std::string text = {};  // what errors call it
    std::string host = {};  // a name, an IPv4 or, without brackets, an IPv6 address; empty: a Unix socket
    uint16_t port = 0;
    std::string socket_path = {};

    // "unix:/PATH", "tcp:HOST:PORT", "tcp:[ADDRESS]:PORT". Throws Error(kUsage).
    static ServerAddress parse(const std::string& text);
};

// A connected, blocking socket. Host names are resolved by getent(1): a static program must not load the
// system's name service modules. `timeout` is for each address of a name. Throws Error; kNotFound when the
// name is unknown or nobody listens there.
Fd connect_to_server(const ServerAddress& server, std::chrono::milliseconds timeout);

}  // namespace inspect
