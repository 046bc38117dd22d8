// SPDX-License-Identifier: LGPL-2.1-or-later
#include "protocol/frame.h"

#include <gtest/gtest.h>

#include <cstring>
#include <string>

#include <inspect/error.h>

namespace inspect::protocol {
namespace {

std::span<const std::byte> bytes(const std::string& text) { return std::as_bytes(std::span(text)); }

void feed(FrameParser& parser, std::span<const std::byte> data) {
    auto room = parser.room(data.size());
    std::memcpy(room.data(), data.data(), data.size());
    parser.filled(data.size());
}

TEST(Frame, SurvivesAnyCutOfTheStream) {
    std::vector<std::byte> stream;
    append_frame(stream, FrameType::kRequest, 1, bytes("first"));
    append_frame(stream, FrameType::kEnd, 1, {});
    append_frame(stream, FrameType::kData, 2, bytes(std::string(3000, 'x')));
    for (size_t piece : {1u, 2u, 11u, 12u, 13u, 100u, 4000u}) {
        FrameParser parser;
        std::vector<std::pair<FrameType, std::string>> seen;
        for (size_t at = 0; at < stream.size(); at += piece) {
            feed(parser, std::span(stream).subspan(at, std::min(piece, stream.size() - at)));
            while (auto frame = parser.next())
                seen.emplace_back(
                    frame->type,
                    std::string(reinterpret_cast<const char*>(frame->payload.data()), frame->payload.size()));
        }
        ASSERT_EQ(seen.size(), 3u) << "cut in pieces of " << piece;
        EXPECT_EQ(seen[0], std::pair(FrameType::kRequest, std::string("first")));
        EXPECT_EQ(seen[1], std::pair(FrameType::kEnd, std::string()));
        EXPECT_EQ(seen[2], std::pair(FrameType::kData, std::string(3000, 'x')));
        EXPECT_GT(parser.missing(), 0u);
    }
}

TEST(Frame, GarbageIsRefusedAtItsHeader) {
    struct {
        FrameHeader header;
        const char* why;
    } cases[] = {
        {make_header(FrameType::kData, 1, kMaxPayload + 1), "too long"},
        {make_header(static_cast<FrameType>(0), 1, 0), "type 0"},
        {make_header(static_cast<FrameType>(9), 1, 0), "type 9"},
        {make_header(FrameType::kData, 1, 0), "reserved bits"},
    };
    cases[3].header.reserved[1] = 1;
    for (auto& c : cases) {
        FrameParser parser;
        feed(parser, std::as_bytes(std::span(&c.header, 1)));
        EXPECT_THROW(parser.next(), Error) << c.why;
    }
}

}  // namespace
}  // namespace inspect::protocol
