// SPDX-License-Identifier: LGPL-2.1-or-later
//
// The client's side of the NBD negotiation: from a new connection to what the server has agreed to.
#pragma once

#include <cstdint>
#include <string>

#include "block/nbd_protocol.h"
#include "block/nbd_stream.h"

namespace inspect {

// Plain data, checked for contradictions: what another process must know to go on with the connection.
struct NbdTerms {
    uint64_t size = 0;                // bytes, a multiple of minimum_block, at most 2^63 - 1
    uint16_t transmission_flags = 0;  // nbd::TransmissionFlag
    uint32_t minimum_block = 1;       // requests are multiples of this; a power of two up to 64 KiB
    uint32_t maximum_payload = nbd::kMaxPayload;  // bytes, a multiple of minimum_block
    bool structured_replies = false;
    bool base_allocation = false;
    uint32_t allocation_context = 0;  // the id of base:allocation in replies

    bool can(nbd::TransmissionFlag flag) const { return (transmission_flags & flag) != 0; }
};

// Asks the server at the other end of `stream` for an export ("" for its default one). The stream has no byte
// buffered afterwards. Throws Error: kNotFound (no such export), kDenied (the server's policy), kUnsupported
// (TLS only, a protocol of before 2013), kCorrupt (no NBD server, or one that contradicts itself).
NbdTerms nbd_client_handshake(NbdStream& stream, const std::string& export_name);

// Text that a server sent, fit for a message: printable ASCII, anything else as '?', at most 200 characters.
std::string nbd_printable(std::span<const std::byte> text);

}  // namespace inspect
