// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Frames: how the library and the agent talk over a byte stream.
//
//   frame = FrameHeader (12 bytes, little-endian) + `length` bytes of payload
//
// The host starts a stream by a kRequest with a number of its own choice, later than any before (is_later():
// a mount may live longer than 32 bits count). The agent works on requests in order, one at a time, and ends
// each by exactly one kResponse; the host may write many requests at once (a batch), and `after_success`
// chains them. Between the two:
//
//   kItem    both ways   a protobuf Item (a directory entry, a tree entry, a seek)
//   kData    both ways   raw bytes of a file, at most kMaxPayload
//   kEnd     host only   the host's data of this stream is complete; empty payload
//   kCredit  both ways   le32: so many more payload bytes of kItem and kData may be sent on this stream
//   kCancel  host only   the agent ends the request soon, by kCancelled, or as it would have; empty payload
//   kHello   agent only  stream 0: a protobuf Hello, once, when it is ready
//
// A kCredit of 0 from the agent is a sign of life: it sends one every 15 s of a request that takes long. What
// arrives for a request that is answered already (a credit, a cancel, the rest of an upload) is dropped.
// Empty kItem and kData frames are not sent.
//
// Written ahead: the host may have kMaxPendingRequests requests unanswered, of kMaxRequest bytes in all, and
// uploads of kInitialCredit bytes in all among them.
//
// Flow control: a sender starts each stream with kInitialCredit bytes and never has more unacknowledged. A
// receiver grants credit back as it consumes, in pieces of at least kCreditStep, so that short exchanges
// carry no credit at all. An answer that comes while the request's upload is unfinished ends the upload: what
// still arrives of it is dropped by the agent up to the stream's kEnd or kCancel, one of which the host
// sends.
//
// A frame that breaks a rule (unknown type, length over the bound, a stream that isn't there, more than the
// credit) is fatal for the connection: the peer is broken or hostile.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "base/endian.h"

namespace inspect::protocol {

inline constexpr uint32_t kProtocolVersion = 1;
inline constexpr uint32_t kMaxPayload = 1 << 20;
inline constexpr uint32_t kMaxRequest = 1 << 20;  // a kRequest's payload
inline constexpr uint32_t kInitialCredit = 4 << 20;
inline constexpr uint32_t kCreditStep = 1 << 20;
inline constexpr uint32_t kMaxPendingRequests = 64;  // written ahead by the host and not yet answered
inline constexpr uint32_t kMaxTreeSlots = 2048;      // Place.slot and Place.keep are less

enum class FrameType : uint8_t {
    kHello = 1,
    kRequest = 2,
    kResponse = 3,
    kItem = 4,
    kData = 5,
    kEnd = 6,
    kCredit = 7,
    kCancel = 8,
};

struct FrameHeader {
    le32 length;
    le32 stream;
    uint8_t type;
    uint8_t reserved[3];  // zero
};
static_assert(sizeof(FrameHeader) == 12 && alignof(FrameHeader) == 1);

struct Frame {
    FrameType type;
    uint32_t stream;
    std::span<const std::byte> payload;  // valid until the parser's next call
};

// Streams are numbered from 1, and after the last number from 1 again. Of two that may be on their way
// together, the one that was started later.
constexpr bool is_later(uint32_t stream, uint32_t than) { return static_cast<int32_t>(stream - than) > 0; }
constexpr uint32_t stream_after(uint32_t stream) { return stream == UINT32_MAX ? 1 : stream + 1; }

// Appends a frame to `out`.
void append_frame(std::vector<std::byte>& out, FrameType type, uint32_t stream,
                  std::span<const std::byte> payload);
FrameHeader make_header(FrameType type, uint32_t stream, uint32_t length);

// Cuts a byte stream into frames. Not thread-safe.
class FrameParser {
  public:
    // Room to read into: at least `at_least` bytes. Call filled() with how many were put there.
    std::span<std::byte> room(size_t at_least);
    void filled(size_t count);

    // The next whole frame, or nullopt when more bytes are needed. Throws Error(kEngine) when the bytes can't
    // be a frame. The payload stays valid until the next call of next() or room().
    std::optional<Frame> next();

    // How many more bytes are needed before next() can give a frame: a hint for read sizes.
    size_t missing() const;

  private:
    std::vector<std::byte> buffer_;
    size_t begin_ = 0;
    size_t end_ = 0;
};

}  // namespace inspect::protocol
