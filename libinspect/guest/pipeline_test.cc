// SPDX-License-Identifier: LGPL-2.1-or-later
#include "guest/pipeline.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "guest/connection.h"
#include "guest/fake_agent_for_test.h"

namespace inspect {
namespace {

using protocol::FrameType;
using testing::ElementsAre;

class PipelineTest : public testing::Test {
  protected:
    Pipeline::Call call(const std::string& name) {
        Pipeline::Call call;
        call.request.mutable_tree_lookup()->set_name(name);
        call.answered = [this, name](const proto::Response& response) {
            log.push_back(name + (response.has_failure() ? " failed" : " answered"));
        };
        call.broken = [this, name] { log.push_back(name + " broken"); };
        return call;
    }
    void answer(uint32_t stream) { channel.reply(stream, proto::Response()); }

    FakeChannel channel{nullptr};
    Pipeline pipeline{channel, 7};
    std::vector<std::string> log;
};

TEST_F(PipelineTest, ManyAreOnTheirWayInOneWrite) {
    for (const char* name : {"a", "b", "c"}) pipeline.submit(call(name));
    pipeline.send();
    EXPECT_EQ(channel.writes, 1u);
    EXPECT_EQ(channel.frames.size(), 3u);
    EXPECT_EQ(channel.frames[0].second, 7u);
    for (uint32_t stream : {7, 8, 9}) answer(stream);
    pipeline.receive();
    EXPECT_THAT(log, ElementsAre("a answered", "b answered", "c answered"));
    EXPECT_TRUE(pipeline.idle());
    EXPECT_EQ(pipeline.next_stream(), 10u);
}

TEST_F(PipelineTest, OneThatMustBeAloneIs) {
    pipeline.submit(call("a"));
    Pipeline::Call alone = call("b");
    alone.alone = true;
    alone.prepare = [this](proto::Request&) {
        log.push_back("b prepared");
        return true;
    };
    pipeline.submit(std::move(alone));
    pipeline.submit(call("c"));
    pipeline.send();
    EXPECT_EQ(channel.frames.size(), 1u);
    answer(7);
    pipeline.receive();
    pipeline.send();
    EXPECT_EQ(channel.frames.size(), 2u);
    answer(8);
    pipeline.receive();
    pipeline.send();
    EXPECT_EQ(channel.frames.size(), 3u);
    EXPECT_THAT(log, ElementsAre("a answered", "b prepared", "b answered"));
}

TEST_F(PipelineTest, WhatIsNotPreparedIsNotSent) {
    Pipeline::Call refused = call("a");
    refused.prepare = [](proto::Request&) { return false; };
    pipeline.submit(std::move(refused));
    pipeline.submit(call("b"));
    pipeline.send();
    EXPECT_EQ(channel.frames.size(), 1u);
}

TEST_F(PipelineTest, WhatIsTooLongFailsAlone) {
    pipeline.submit(call("a"));
    Pipeline::Call deep = call("b");
    deep.prepare = [](proto::Request& request) {
        request.mutable_tree_lookup()->mutable_directory()->set_path(std::string(2 << 20, 'x'));
        return true;
    };
    int error = 0;
    deep.answered = [&](const proto::Response& response) {
        error = static_cast<int>(response.failure().errnum());
    };
    pipeline.submit(std::move(deep));
    pipeline.submit(call("c"));
    pipeline.send();
    EXPECT_EQ(error, ENAMETOOLONG);
    EXPECT_EQ(channel.frames.size(), 2u);
    for (uint32_t stream : {7, 8}) answer(stream);
    pipeline.receive();
    EXPECT_THAT(log, ElementsAre("a answered", "c answered"));
    EXPECT_TRUE(pipeline.idle());
}

TEST_F(PipelineTest, NumbersStartAnewAfterTheLast) {
    Pipeline old(channel, UINT32_MAX - 1);
    for (const char* name : {"a", "b", "c"}) old.submit(call(name));
    old.send();
    ASSERT_EQ(channel.frames.size(), 3u);
    EXPECT_EQ(channel.frames[1].second, UINT32_MAX);
    EXPECT_EQ(channel.frames[2].second, 1u);
    for (const auto& frame : channel.frames) answer(frame.second);
    old.receive();
    EXPECT_THAT(log, ElementsAre("a answered", "b answered", "c answered"));
}

TEST_F(PipelineTest, NoMoreAreSentThanTheProtocolAllows) {
    for (uint32_t i = 0; i < protocol::kMaxPendingRequests + 5; ++i) pipeline.submit(call("x"));
    pipeline.send();
    EXPECT_EQ(channel.frames.size(), protocol::kMaxPendingRequests);
}

TEST_F(PipelineTest, DataAndItemsReachTheirCall) {
    Pipeline::Call read = call("a");
    std::string got;
    read.most_bytes = 10;
    read.on_data = [&](std::span<const std::byte> bytes) {
        got.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    };
    pipeline.submit(std::move(read));
    pipeline.send();
    channel.reply(FrameType::kData, 7, "hello");
    channel.reply_credit(7, 0);  // a sign of life
    channel.reply(FrameType::kData, 7, "world");
    answer(7);
    pipeline.receive();
    EXPECT_EQ(got, "helloworld");
    EXPECT_THAT(log, ElementsAre("a answered"));
}

TEST_F(PipelineTest, APeerThatBreaksTheRulesIsNotBelieved) {
    auto expect_refused = [](auto reply) {
        FakeChannel peer(nullptr);
        Pipeline to_peer(peer, 1);
        Pipeline::Call read;
        read.most_bytes = 4;
        read.on_data = [](std::span<const std::byte>) {};
        to_peer.submit(std::move(read));
        to_peer.send();
        reply(peer);
        EXPECT_THROW(to_peer.receive(), ProtocolError);
    };
    expect_refused([](FakeChannel& peer) { peer.reply(2, proto::Response()); });
    expect_refused([](FakeChannel& peer) { peer.reply(FrameType::kData, 1, "hello"); });
    expect_refused([](FakeChannel& peer) { peer.reply(FrameType::kData, 1, ""); });
    expect_refused([](FakeChannel& peer) { peer.reply(FrameType::kItem, 1, "abc"); });
    expect_refused([](FakeChannel& peer) { peer.reply(FrameType::kResponse, 1, "\xff"); });
    expect_refused([](FakeChannel& peer) { peer.reply(FrameType::kHello, 1, ""); });
    expect_refused([](FakeChannel& peer) { peer.reply_credit(1, 5); });
    expect_refused([](FakeChannel& peer) {
        peer.reply(1, proto::Response());
        peer.reply(1, proto::Response());
    });
}

TEST_F(PipelineTest, BrokenOffEverybodyIsToldNowAndLater) {
    pipeline.submit(call("a"));
    pipeline.send();
    pipeline.submit(call("b"));
    pipeline.break_off();
    EXPECT_THAT(log, ElementsAre("a broken", "b broken"));
    pipeline.submit(call("c"));
    pipeline.send();
    EXPECT_THAT(log, ElementsAre("a broken", "b broken", "c broken"));
    EXPECT_EQ(channel.frames.size(), 1u);
}

}  // namespace
}  // namespace inspect
