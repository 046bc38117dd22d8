// SPDX-License-Identifier: LGPL-2.1-or-later
//
// The server's side of the NBD transmission phase: takes one client's requests, does them, answers.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdlib>
#include <memory>
#include <optional>

#include "block/nbd_handshake.h"
#include "block/nbd_protocol.h"
#include "block/nbd_stream.h"
#include "block/shared_device.h"

namespace inspect {

// Answers requests in the order in which they came. Replies to small ones are collected while more requests
// are there already; data goes from the device to where it is sent from, or from where it was received to the
// device, without a copy between.
class NbdRequests {
  public:
    // All must outlive this. When `stopping` becomes true no further request is begun.
    NbdRequests(NbdStream& stream, SharedDevice& device, const NbdExport& offer,
                const NbdAgreement& agreement, const std::atomic<bool>& stopping);

    // Until the client takes its leave or hangs up between two requests. Throws Error when it does not keep
    // to the protocol, stalls or hangs up elsewhere.
    void run();

  private:
    // What is moved at once, in bytes. A multiple of 4096.
    static constexpr size_t kPiece = 512 * 1024;
    static constexpr size_t kAlignment = 4096;
    // A page more, so that the data of a large reply is aligned and its header lies right before it.
    static constexpr size_t kBufferSize = kPiece + kAlignment;

    void handle(const nbd::Request& request);
    std::optional<uint32_t> objection(const nbd::Request& request) const;
    void read(const nbd::Request& request);
    void read_small(const nbd::Request& request);
    void read_structured(const nbd::Request& request);
    void read_simple(const nbd::Request& request);
    bool send_data_chunk(const nbd::Request& request, uint64_t offset, uint64_t length, bool last);
    void send_hole_chunk(const nbd::Request& request, uint64_t offset, uint64_t length, bool last);
    void write(const nbd::Request& request);
    void clear(const nbd::Request& request);
    void cache(const nbd::Request& request);
    void block_status(const nbd::Request& request);
    void finish(const nbd::Request& request, uint32_t error);
    void send_error(const nbd::Request& request, uint32_t error);

    // Calls `operation`; kOk, or what its failure is called on the wire.
    template <typename Operation>
    uint32_t attempt(const nbd::Request& request, Operation operation) noexcept;

    // The buffer of replies that wait to be sent: [start_, end_).
    std::byte* room(size_t length);  // for `length` bytes more, at its end
    template <typename T>
    void put(const T& object);
    void send_all();
    bool empty() const { return start_ == end_; }

    NbdStream& stream_;
    SharedDevice& device_;
    const NbdExport& offer_;
    const NbdAgreement agreement_;
    const std::atomic<bool>& stopping_;

    struct Free {
        void operator()(std::byte* memory) const { std::free(memory); }
    };
    std::unique_ptr<std::byte[], Free> buffer_;
    size_t start_ = 0, end_ = 0;
};

}  // namespace inspect
