// SPDX-License-Identifier: LGPL-2.1-or-later
#include "protocol/frame.h"

#include <algorithm>
#include <cstring>
#include <string>

#include <inspect/error.h>

namespace inspect::protocol {

namespace {

bool known_type(uint8_t type) {
    return type >= static_cast<uint8_t>(FrameType::kHello) &&
           type <= static_cast<uint8_t>(FrameType::kCancel);
}

// The header at `bytes`, checked.
FrameHeader read_header(const std::byte* bytes) {
    FrameHeader header;
    std::memcpy(&header, bytes, sizeof header);
    if (!known_type(header.type) || header.length > kMaxPayload || header.reserved[0] != 0 ||
        header.reserved[1] != 0 || header.reserved[2] != 0) {
        throw Error(ErrorKind::kEngine, "the peer broke the protocol: a frame of type " +
                                            std::to_string(header.type) + " and length " +
                                            std::to_string(header.length));
    }
    return header;
}

}  // namespace

FrameHeader make_header(FrameType type, uint32_t stream, uint32_t length) {
    FrameHeader header{};
    header.length = length;
    header.stream = stream;
    header.type = static_cast<uint8_t>(type);
    return header;
}

void append_frame(std::vector<std::byte>& out, FrameType type, uint32_t stream,
                  std::span<const std::byte> payload) {
    if (payload.size() > kMaxPayload)
        throw Error(ErrorKind::kInternal, "a frame of " + std::to_string(payload.size()) + " bytes");
    FrameHeader header = make_header(type, stream, static_cast<uint32_t>(payload.size()));
    auto bytes = std::as_bytes(std::span(&header, 1));
    out.insert(out.end(), bytes.begin(), bytes.end());
    out.insert(out.end(), payload.begin(), payload.end());
}

std::span<std::byte> FrameParser::room(size_t at_least) {
    if (begin_ > 0) {
        std::memmove(buffer_.data(), buffer_.data() + begin_, end_ - begin_);
        end_ -= begin_;
        begin_ = 0;
    }
    if (buffer_.size() - end_ < at_least) buffer_.resize(end_ + at_least);
    return std::span(buffer_).subspan(end_);
}

void FrameParser::filled(size_t count) { end_ += std::min(count, buffer_.size() - end_); }

std::optional<Frame> FrameParser::next() {
    if (end_ - begin_ < sizeof(FrameHeader)) return std::nullopt;
    FrameHeader header = read_header(buffer_.data() + begin_);
    size_t length = header.length;
    if (end_ - begin_ < sizeof header + length) return std::nullopt;
    Frame frame{static_cast<FrameType>(header.type), header.stream,
                std::span<const std::byte>(buffer_).subspan(begin_ + sizeof header, length)};
    begin_ += sizeof header + length;
    return frame;
}

size_t FrameParser::missing() const {
    size_t have = end_ - begin_;
    if (have < sizeof(FrameHeader)) return sizeof(FrameHeader) - have;
    FrameHeader header;
    std::memcpy(&header, buffer_.data() + begin_, sizeof header);
    size_t whole = sizeof header + std::min<size_t>(header.length, kMaxPayload);
    return whole > have ? whole - have : 0;
}

}  // namespace inspect::protocol
