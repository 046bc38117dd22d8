// SPDX-License-Identifier: LGPL-2.1-or-later
//
// The client's side of the NBD transmission phase: requests go out, replies come back and are checked.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include <inspect/error.h>

#include "block/block_device.h"
#include "block/nbd_client_handshake.h"
#include "block/nbd_stream.h"

namespace inspect {

// A range of the export and what to do with it, in requests of at most `piece` bytes.
struct NbdWork {
    nbd::Command command;
    uint16_t flags = 0;              // nbd::CommandFlag
    uint64_t offset = 0;             // bytes, as are length and piece; multiples of the minimum block
    uint64_t length = 0;             // FLUSH has none
    uint64_t piece = 1;              // less than 4 GiB
    std::byte* in = nullptr;         // READ: where the range's data goes
    const std::byte* out = nullptr;  // WRITE: where it comes from
    // BLOCK_STATUS, whose range must be one piece: what is known of the range from its start on, maybe of a
    // part of it only, never of nothing. Appended to.
    std::vector<Extent>* extents = nullptr;
};

// Not thread-safe.
class NbdExchange {
  public:
    // Both must outlive this.
    NbdExchange(NbdStream& stream, const NbdTerms& terms) : stream_(stream), terms_(terms) {}

    // Does the work. Throws Error: what the server says went wrong, with an understandable message; or that
    // it broke the protocol, hung up or stalled, and then every later call throws the same.
    void run(const NbdWork& work);
    // True when the connection can't be used any more.
    bool broken() const noexcept { return !broken_.empty(); }
    // Makes it so, for a reason.
    void give_up(std::string reason) { broken_ = std::move(reason); }

  private:
    struct Interval {
        uint64_t begin, end;
    };
    // A request under way; cookie 0: none.
    struct Part {
        uint64_t cookie = 0;
        uint64_t offset = 0;
        uint32_t length = 0;
        uint32_t error = nbd::kOk;
        std::string message = {};
        uint32_t chunks = 0;
        std::vector<Interval> received = {};  // of a READ: sorted, with gaps between them
        bool has_status = false;
        bool done = false;
    };
    static constexpr size_t kUnderWay = 8;  // requests at a time

    void send(const NbdWork& work, const Part& part);
    Part& receive(const NbdWork& work);
    void receive_simple(const NbdWork& work, Part& part, uint32_t error);
    void receive_chunk(const NbdWork& work, Part& part, uint16_t type, uint32_t length);
    void receive_status(const NbdWork& work, Part& part, uint32_t length);
    void receive_error(Part& part, uint16_t type, uint32_t length);
    std::span<std::byte> destination(const NbdWork& work, Part& part, uint64_t offset, uint64_t length);
    void check_complete(const NbdWork& work, const Part& part) const;
    Part& part_of(uint64_t cookie);
    static bool add_interval(std::vector<Interval>& all, Interval added);
    Error failure(const NbdWork& work, const Part& part) const;
    Error nonsense(const std::string& what) const;

    NbdStream& stream_;
    const NbdTerms& terms_;
    std::array<Part, kUnderWay> parts_;
    uint64_t next_cookie_ = 1;
    std::string broken_;
};

}  // namespace inspect
