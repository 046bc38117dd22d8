// SPDX-License-Identifier: GPL-2.0-or-later
#include "connection.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>

#include "agent_harness.h"

namespace inspect::agent {
namespace {

using protocol::FrameType;

proto::Request ping() {
    proto::Request request;
    request.mutable_ping();
    return request;
}

proto::Request read_of(const std::string& path) {
    proto::Request request;
    request.mutable_read_file()->set_path(path);
    return request;
}

TEST(Connection, ABatchIsAnsweredInOrderAndStopsAtTheFirstFailure) {
    TemporaryDirectory root;
    AgentHarness agent(root.path());
    proto::Request missing = read_of("/missing");
    missing.set_after_success(true);
    proto::Request chained = ping();
    chained.set_after_success(true);
    uint32_t first = agent.start(ping());
    uint32_t second = agent.start(missing);
    uint32_t third = agent.start(chained);
    uint32_t fourth = agent.start(chained);
    uint32_t fifth = agent.start(ping());
    EXPECT_TRUE(agent.finish(first).ok());
    Answer failed = agent.finish(second);
    EXPECT_EQ(failed.error(), "cannot open /missing: No such file or directory");
    EXPECT_EQ(failed.response.failure().kind(), proto::NOT_FOUND);
    EXPECT_EQ(failed.response.failure().errnum(), static_cast<uint32_t>(ENOENT));
    EXPECT_TRUE(agent.finish(third).response.skipped());
    EXPECT_TRUE(agent.finish(fourth).response.skipped());
    EXPECT_TRUE(agent.finish(fifth).ok());
    EXPECT_EQ(agent.stop(), "");
}

TEST(Connection, SendsNoMoreThanItsCredit) {
    TemporaryDirectory root;
    write_text(root / "big", std::string(6 << 20, 'x'));
    AgentHarness agent(root.path());
    agent.start(read_of("/big"));
    size_t received = 0;
    while (received < protocol::kInitialCredit) {
        auto frame = agent.read_frame();
        ASSERT_TRUE(frame);
        ASSERT_EQ(frame->first.type, static_cast<uint8_t>(FrameType::kData));
        received += frame->second.size();
    }
    EXPECT_EQ(received, protocol::kInitialCredit);
    // It is waiting now. A cancel is heard, and the answer comes within the credit.
    agent.send(FrameType::kCancel, 1, {});
    Answer answer = agent.finish(1);
    EXPECT_EQ(answer.response.failure().kind(), proto::CANCELLED);
    EXPECT_TRUE(answer.data.empty());
}

TEST(Connection, WithCreditEverythingArrives) {
    TemporaryDirectory root;
    std::string content(9 << 20, '\0');
    for (size_t i = 0; i < content.size(); ++i) content[i] = static_cast<char>(i * 7 + (i >> 13));
    write_text(root / "big", content);
    AgentHarness agent(root.path());
    Answer answer = agent.call(read_of("/big"));
    EXPECT_TRUE(answer.ok());
    EXPECT_TRUE(answer.data == content);
}

TEST(Connection, LateFramesOfAnAnsweredRequestAreDropped) {
    TemporaryDirectory root;
    AgentHarness agent(root.path());
    proto::Request write;
    write.mutable_write_file()->set_path("/no/such/directory");
    uint32_t stream = agent.start(write);
    EXPECT_FALSE(agent.finish(stream).ok());
    le32 credit = 5;
    agent.send(FrameType::kData, stream, "late");
    agent.send(FrameType::kEnd, stream, {});
    agent.send(FrameType::kCancel, stream, {});
    agent.send(FrameType::kCredit, stream, {reinterpret_cast<const char*>(&credit), sizeof credit});
    EXPECT_TRUE(agent.call(ping()).ok());
    EXPECT_EQ(agent.stop(), "");
}

TEST(Connection, ARequestThatWaitsCanBeCancelled) {
    TemporaryDirectory root;
    AgentHarness agent(root.path());
    proto::Request write;
    write.mutable_write_file()->set_path("/file");
    uint32_t first = agent.start(write);
    uint32_t second = agent.start(ping());
    agent.send(FrameType::kCancel, second, {});
    agent.send(FrameType::kEnd, first, {});
    EXPECT_TRUE(agent.finish(first).ok());
    EXPECT_EQ(agent.finish(second).response.failure().kind(), proto::CANCELLED);
}

TEST(Connection, BrokenRulesEndIt) {
    TemporaryDirectory root;
    le32 credit = 1;
    std::string one_credit(reinterpret_cast<const char*>(&credit), sizeof credit);
    struct {
        FrameType type;
        uint32_t stream;
        std::string payload;
        const char* why;
    } cases[] = {
        {FrameType::kData, 7, "x", "data for a request that was never made"},
        {FrameType::kCancel, 7, "", "a request that was never made is cancelled"},
        {FrameType::kCredit, 7, one_credit, "credit for a request that was never made"},
        {FrameType::kCredit, 1, "x", "a credit of the wrong size"},
        {FrameType::kRequest, 0, "", "a request's number is not new"},
        {FrameType::kHello, 0, "", "a frame that only the agent may send"},
        {FrameType::kResponse, 1, "", "a frame that only the agent may send"},
    };
    for (const auto& c : cases) {
        AgentHarness agent(root.path());
        agent.send(c.type, c.stream, c.payload);
        EXPECT_EQ(agent.stop(), c.why);
    }
}

TEST(Connection, NumbersStartAnewAfterTheLast) {
    TemporaryDirectory root;
    AgentHarness agent(root.path());
    const std::string request = ping().SerializeAsString();
    for (uint32_t stream : {1u, 0x70000000u, 0xe0000000u, UINT32_MAX, 1u, 2u}) {
        agent.send(FrameType::kRequest, stream, request);
        EXPECT_TRUE(agent.finish(stream).ok());
    }
    agent.send(FrameType::kRequest, UINT32_MAX, request);
    EXPECT_EQ(agent.stop(), "a request's number is not new");
}

// Two requests have come, the first is answered but that not yet sent, and the second is one long system
// call.
TEST(Connection, WhoWaitsForASystemCallIsToldThatItIsAlive) {
    int fds[2];
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    const Fd host(fds[0]), side(fds[1]);
    std::vector<std::byte> requests;
    for (uint32_t stream : {1, 2}) protocol::append_frame(requests, FrameType::kRequest, stream, {});
    write_full(host.get(), requests, "write to the agent");
    Connection connection(side.get(), side.get());
    connection.watch(std::chrono::milliseconds(30));
    auto next_frame = [&] {
        protocol::FrameHeader header;
        read_full(host.get(), std::as_writable_bytes(std::span(&header, 1)), "read");
        std::vector<std::byte> payload(header.length);
        if (!payload.empty()) read_full(host.get(), payload, "read");
        return std::pair(static_cast<FrameType>(header.type), static_cast<uint32_t>(header.stream));
    };
    ASSERT_TRUE(connection.next_request());
    connection.respond(proto::Response());
    ASSERT_TRUE(connection.next_request());
    EXPECT_EQ(next_frame(), std::pair(FrameType::kCredit, 1u)) << "for what the host waits for first";
    connection.flush();
    EXPECT_EQ(next_frame(), std::pair(FrameType::kResponse, 1u));
    EXPECT_EQ(next_frame(), std::pair(FrameType::kCredit, 2u));
    EXPECT_EQ(next_frame(), std::pair(FrameType::kCredit, 2u));
    connection.respond(proto::Response());
    connection.flush();
    while (next_frame() != std::pair(FrameType::kResponse, 2u)) {
    }
    pollfd more{host.get(), POLLIN, 0};
    EXPECT_EQ(::poll(&more, 1, 200), 0) << "nothing is at work";
}

TEST(Connection, MoreAheadThanAllowedEndsIt) {
    TemporaryDirectory root;
    AgentHarness agent(root.path());
    proto::Request write;
    write.mutable_write_file()->set_path("/file");
    // The first request waits for its data, so what belongs to the second one is kept.
    agent.start(write);
    agent.start(write);
    std::string chunk(protocol::kMaxPayload, 'x');
    for (uint32_t sent = 0; sent < protocol::kInitialCredit; sent += protocol::kMaxPayload)
        agent.send_data(chunk);
    agent.send_data("x");
    EXPECT_EQ(agent.stop(), "more data than there is credit for");
}

// The path is in what the agent has to say of it.
TEST(Connection, AnAnswerThatIsTooLongIsAFailure) {
    TemporaryDirectory root;
    AgentHarness agent(root.path());
    proto::Request stat;
    stat.mutable_stat()->set_path(std::string(protocol::kMaxRequest - 32, 'x'));
    proto::Request after = ping();
    after.set_after_success(true);
    const uint32_t first = agent.start(stat), second = agent.start(after);
    EXPECT_THAT(agent.finish(first).error(), testing::HasSubstr("more than the protocol allows"));
    EXPECT_TRUE(agent.finish(second).response.skipped());
    EXPECT_TRUE(agent.call(ping()).ok());
    EXPECT_EQ(agent.stop(), "");
}

TEST(Connection, GarbageIsAnsweredAsSuch) {
    TemporaryDirectory root;
    AgentHarness agent(root.path());
    agent.send(FrameType::kRequest, 1, "\xff\xff\xff");
    EXPECT_EQ(agent.finish(1).response.failure().kind(), proto::USAGE);
    agent.send(FrameType::kRequest, 2, {});
    EXPECT_EQ(agent.finish(2).response.failure().kind(), proto::UNSUPPORTED);
}

}  // namespace
}  // namespace inspect::agent
