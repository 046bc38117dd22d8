// SPDX-License-Identifier: LGPL-2.1-or-later
//
// The server's side of the NBD negotiation: from a new connection to the agreement on what is exported and
// how.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "block/nbd_stream.h"

namespace inspect {

// What is offered.
struct NbdExport {
    std::string name;
    std::string description;
    uint64_t size;                // bytes
    uint16_t transmission_flags;  // nbd::TransmissionFlag
    uint32_t minimum_block;       // bytes
};

// What was agreed on.
struct NbdAgreement {
    bool structured_replies = false;
    bool base_allocation = false;
};

// The id by which base:allocation is called in replies.
constexpr uint32_t kNbdAllocationContext = 1;

// Negotiates. nullopt when the client took its leave in an orderly way. Throws Error when it did not keep to
// the protocol or was too slow for the stream's deadline.
std::optional<NbdAgreement> nbd_server_handshake(NbdStream& stream, const NbdExport& offer);

}  // namespace inspect
