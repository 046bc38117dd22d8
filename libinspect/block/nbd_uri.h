// SPDX-License-Identifier: LGPL-2.1-or-later
//
// NBD URIs (doc/uri.md of the NetworkBlockDevice project):
//
//   nbd://HOST[:PORT]/[EXPORT]          nbds:// the same with TLS
//   nbd+unix:///[EXPORT]?socket=PATH    nbds+unix:// the same with TLS
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/fd.h"
#include "block/nbd_protocol.h"

namespace inspect {

struct NbdUri {
    std::string text;  // as it was given
    bool tls = false;
    std::string host;  // a name, an IPv4 or, without its brackets, an IPv6 address; empty: a Unix socket
    uint16_t port = nbd::kDefaultPort;
    std::string socket_path;
    std::string export_name;

    // True when `text` begins as an NBD URI does.
    static bool looks_like(std::string_view text);
    // Throws Error(kUsage) that says what is wrong. Parameters for TLS (tls-certificates=, tls-psk-file=...)
    // are left to who does TLS.
    static NbdUri parse(const std::string& text);
};

// A connected socket to the URI's server, as connect_to_server() (base/connect.h) makes it.
Fd connect_to_nbd_server(const NbdUri& uri, std::chrono::milliseconds timeout);

// What a URI may have in the place of these bytes; slashes stay.
std::string percent_encoded(std::string_view text);

}  // namespace inspect
