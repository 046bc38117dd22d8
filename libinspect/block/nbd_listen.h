// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Sockets for an NBD server to listen on.
#pragma once

#include <cstdint>
#include <string>

#include "base/fd.h"

namespace inspect {

// A listening socket with this path. A socket that nobody listens on any more is replaced. Throws Error;
// kBusy when somebody listens.
Fd listen_on_unix_socket(const std::string& path);
// A listening socket on 127.0.0.1; port 0 lets the system choose. Throws Error.
Fd listen_on_loopback(uint16_t port);
// The port of a TCP socket. Throws Error.
uint16_t local_port(int socket);

}  // namespace inspect
