// SPDX-License-Identifier: LGPL-2.1-or-later
#include "guest/connection.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <optional>
#include <string>
#include <thread>
#include <tuple>

#include "base/fd.h"
#include "base/units.h"
#include "engine/socket_channel.h"
#include "guest/fake_agent_for_test.h"

namespace inspect {
namespace {

using protocol::Frame;
using protocol::FrameType;
using testing::HasSubstr;

proto::Request ping() {
    proto::Request request;
    request.mutable_ping();
    return request;
}

proto::Response failure(proto::ErrorKind kind, const std::string& message) {
    proto::Response response;
    response.mutable_failure()->set_kind(kind);
    response.mutable_failure()->set_message(message);
    return response;
}

proto::Response skipped() {
    proto::Response response;
    response.set_skipped(true);
    return response;
}

std::string text(std::span<const std::byte> bytes) {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

uint32_t credit_of(const Frame& frame) {
    le32 number;
    std::memcpy(&number, frame.payload.data(), sizeof number);
    return number;
}

// Runs a batch of `count` pings against an agent; what it throws comes out.
Connection::Outcome run(FakeChannel& channel, size_t count, const Connection::Handlers& handlers = {}) {
    Connection connection(channel, {});
    std::vector<proto::Request> batch(count, ping());
    return connection.run(batch, handlers);
}

// The message of the error that a peer gets away with nothing for.
std::string complaint(const FakeChannel::Agent& agent, size_t count = 1,
                      const Connection::Handlers& handlers = {}) {
    FakeChannel channel(agent);
    try {
        run(channel, count, handlers);
    } catch (const Error& error) {
        EXPECT_EQ(error.kind(), ErrorKind::kEngine);
        return error.message();
    }
    return "";
}

TEST(Connection, SendsABatchInOneWrite) {
    std::vector<bool> chained;
    FakeChannel channel([&](FakeChannel& self, const Frame& frame) {
        proto::Request request;
        ASSERT_TRUE(request.ParseFromArray(frame.payload.data(), static_cast<int>(frame.payload.size())));
        chained.push_back(request.after_success());
        self.reply(frame.stream, proto::Response());
    });
    EXPECT_EQ(run(channel, 3).answers.size(), 3u);
    EXPECT_EQ(channel.writes, 1u);
    EXPECT_EQ(chained, (std::vector<bool>{false, true, true}));
}

TEST(Connection, SendsASmallUploadInTheSameWrite) {
    std::string got;
    FakeChannel channel([&](FakeChannel& self, const Frame& frame) {
        if (frame.type == FrameType::kData) got += text(frame.payload);
        if (frame.type == FrameType::kEnd) self.reply(frame.stream, proto::Response());
    });
    run(channel, 1,
        {.upload = [](Connection::Upload& out) { out.data(std::as_bytes(std::span("hello", 5))); }});
    EXPECT_EQ(got, "hello");
    EXPECT_EQ(channel.writes, 1u);
}

TEST(Connection, ReturnsTheFirstFailureAndWhatWasSkipped) {
    FakeChannel channel([](FakeChannel& self, const Frame& frame) {
        self.reply(frame.stream, frame.stream == 1   ? proto::Response()
                                 : frame.stream == 2 ? failure(proto::NOT_FOUND, "no /dev/sdx")
                                                     : skipped());
    });
    std::vector<proto::Response> answers = run(channel, 3).answers;
    EXPECT_TRUE(answers[1].has_failure());
    EXPECT_TRUE(answers[2].skipped());
}

TEST(Connection, GrantsCreditAsItConsumes) {
    uint32_t sent = 0;
    uint32_t granted = protocol::kInitialCredit;
    auto send = [&](FakeChannel& self, uint32_t stream) {
        while (sent + kMiB <= granted && sent < 20 * kMiB) {
            self.reply(FrameType::kData, stream, std::string(kMiB, 'x'));
            sent += kMiB;
        }
        if (sent == 20 * kMiB) self.reply(stream, proto::Response());
        if (sent == 20 * kMiB) sent = UINT32_MAX;
    };
    FakeChannel channel([&](FakeChannel& self, const Frame& frame) {
        if (frame.type == FrameType::kCredit) granted += credit_of(frame);
        if (sent != UINT32_MAX) send(self, frame.stream);
    });
    uint64_t got = 0;
    run(channel, 1, {.on_data = [&](std::span<const std::byte> bytes) { got += bytes.size(); }});
    EXPECT_EQ(got, 20u * kMiB);
}

TEST(Connection, KeepsAnUploadWithinItsCredit) {
    uint64_t got = 0;
    uint64_t granted = protocol::kInitialCredit;
    FakeChannel channel([&](FakeChannel& self, const Frame& frame) {
        if (frame.type == FrameType::kData) {
            got += frame.payload.size();
            EXPECT_LE(got, granted);
            if (granted - got < 2 * kMiB) {
                self.reply_credit(frame.stream, 2 * kMiB);
                granted += 2 * kMiB;
            }
        }
        if (frame.type == FrameType::kEnd) self.reply(frame.stream, proto::Response());
    });
    std::vector<std::byte> chunk(3 * kMiB + 5);
    run(channel, 1, {.upload = [&](Connection::Upload& out) {
            for (int i = 0; i < 8; ++i) EXPECT_TRUE(out.data(chunk));
        }});
    EXPECT_EQ(got, 8 * chunk.size());
}

// A program that writes more than it reads, as its pipes fill: its agent reads when it has written.
TEST(Connection, HearsAPeerThatWritesBeforeItReads) {
    int fds[2];
    ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    const Fd ours(fds[0]), peers(fds[1]);
    std::thread peer([&] {
        std::vector<std::byte> in(64 << 10);
        auto write = [&](FrameType type, std::string_view payload) {
            std::vector<std::byte> out;
            protocol::append_frame(out, type, 1, std::as_bytes(std::span(payload)));
            write_full(peers.get(), out, "write to the host");
        };
        std::ignore = read(peers.get(), in.data(), 1);
        for (int i = 0; i < 3; ++i) write(FrameType::kData, std::string(kMiB, 'x'));
        for (size_t got = 1; got < 3 * kMiB;)
            got += static_cast<size_t>(read(peers.get(), in.data(), in.size()));
        write(FrameType::kResponse, proto::Response().SerializeAsString());
        while (read(peers.get(), in.data(), in.size()) > 0) {
        }
    });
    SocketChannel channel(ours.get(), -1,
                          [](const std::string& what, bool) { return Error(ErrorKind::kEngine, what); });
    Connection connection(channel, {});
    std::vector<proto::Request> batch{ping()};
    size_t received = 0;
    connection.run(batch, {.on_data = [&](std::span<const std::byte> bytes) { received += bytes.size(); },
                           .upload =
                               [](Connection::Upload& out) {
                                   const std::string data(3 * kMiB, 'y');
                                   out.data(std::as_bytes(std::span(data)));
                               }});
    EXPECT_EQ(received, 3 * kMiB);
    shutdown(ours.get(), SHUT_RDWR);
    peer.join();
}

TEST(Connection, AnEarlyAnswerEndsTheUpload) {
    FakeChannel channel([&](FakeChannel& self, const Frame& frame) {
        if (frame.type == FrameType::kRequest) self.reply(frame.stream, failure(proto::NO_SPACE, "full"));
    });
    std::vector<std::byte> chunk(kMiB);
    int sent = 0;
    Connection connection(channel, {});
    std::vector<proto::Request> batch = {ping()};
    auto outcome = connection.run(batch, {.upload = [&](Connection::Upload& out) {
                                      while (sent < 100 && out.data(chunk)) ++sent;
                                  }});
    EXPECT_LT(sent, 2);
    EXPECT_TRUE(outcome.answers[0].has_failure());
    // The stream is closed at the latest with the next request.
    batch = {ping()};
    EXPECT_TRUE(connection.run(batch, {}).answers[0].has_failure());
    EXPECT_THAT(channel.frames, testing::Contains(std::pair(FrameType::kCancel, 1u)));
}

TEST(Connection, CancelsWhenASinkThrows) {
    std::optional<uint32_t> cancelled;
    FakeChannel channel([&](FakeChannel& self, const Frame& frame) {
        if (frame.type == FrameType::kRequest && frame.stream == 1) self.reply(FrameType::kData, 1, "some");
        if (frame.type == FrameType::kRequest && frame.stream == 2) self.reply(2, proto::Response());
        if (frame.type == FrameType::kCancel) {
            cancelled = frame.stream;
            self.reply(FrameType::kData, 1, "what was under way");
            self.reply(1, failure(proto::CANCELLED, "cancelled"));
        }
    });
    Connection connection(channel, {});
    std::vector<proto::Request> batch = {ping()};
    int calls = 0;
    auto sink = [&](std::span<const std::byte>) {
        ++calls;
        throw std::runtime_error("the disk is full");
    };
    auto outcome = connection.run(batch, {.on_data = sink});
    EXPECT_THROW(std::rethrow_exception(outcome.thrown), std::runtime_error);
    EXPECT_EQ(cancelled, 1u);
    EXPECT_EQ(calls, 1);
    // And the connection is as good as new.
    EXPECT_FALSE(connection.broken());
    EXPECT_FALSE(connection.run(batch, {}).answers[0].has_failure());
}

TEST(Connection, CancelsWhenASourceThrows) {
    FakeChannel channel([&](FakeChannel& self, const Frame& frame) {
        EXPECT_NE(frame.type, FrameType::kEnd);
        if (frame.type == FrameType::kCancel) self.reply(1, failure(proto::CANCELLED, "cancelled"));
    });
    auto outcome = run(channel, 1, {.upload = [](Connection::Upload& out) {
                           out.data(std::as_bytes(std::span("half", 4)));
                           throw std::runtime_error("unreadable");
                       }});
    EXPECT_THROW(std::rethrow_exception(outcome.thrown), std::runtime_error);
}

TEST(Connection, ASignOfLifeIsNoAnswer) {
    FakeChannel channel([](FakeChannel& self, const Frame& frame) {
        self.reply_credit(frame.stream, 0);
        self.reply(frame.stream, proto::Response());
    });
    EXPECT_EQ(run(channel, 2).answers.size(), 2u);
}

TEST(Connection, SendsNothingOfABatchThatIsTooLong) {
    FakeChannel channel(
        [](FakeChannel& self, const Frame& frame) { self.reply(frame.stream, proto::Response()); });
    Connection connection(channel, {});
    std::vector<proto::Request> batch = {ping(), ping()};
    batch[1].mutable_stat()->set_path(std::string(2 * kMiB, 'x'));
    EXPECT_THROW(connection.run(batch, {}), Error);
    EXPECT_EQ(channel.writes, 0u);
    batch = {ping()};
    EXPECT_EQ(connection.run(batch, {}).answers.size(), 1u);
    EXPECT_EQ(channel.frames.size(), 1u);
}

// ---- a peer that breaks the rules

TEST(ConnectionHostile, Silence) {
    EXPECT_THAT(complaint([](FakeChannel&, const Frame&) {}), HasSubstr("does not answer"));
}

TEST(ConnectionHostile, NoFrames) {
    auto agent = [](FakeChannel& self, const Frame&) {
        self.reply_raw(std::as_bytes(std::span("GET / HTTP/1.1\r\n\r\n", 18)));
    };
    EXPECT_THAT(complaint(agent), HasSubstr("broke the protocol"));
}

TEST(ConnectionHostile, AnswerToAnotherRequest) {
    auto agent = [](FakeChannel& self, const Frame&) { self.reply(7, proto::Response()); };
    EXPECT_THAT(complaint(agent), HasSubstr("answer to request 7"));
}

TEST(ConnectionHostile, AnswersOutOfOrder) {
    auto agent = [](FakeChannel& self, const Frame& frame) {
        if (frame.stream == 2) self.reply(2, proto::Response());
    };
    EXPECT_THAT(complaint(agent, 2), HasSubstr("broke the protocol"));
}

TEST(ConnectionHostile, SkippedWithoutAReason) {
    auto agent = [](FakeChannel& self, const Frame& frame) { self.reply(frame.stream, skipped()); };
    EXPECT_THAT(complaint(agent), HasSubstr("does not fit"));
}

TEST(ConnectionHostile, SuccessAfterFailure) {
    auto agent = [](FakeChannel& self, const Frame& frame) {
        self.reply(frame.stream, frame.stream == 1 ? failure(proto::DENIED, "no") : proto::Response());
    };
    EXPECT_THAT(complaint(agent, 2), HasSubstr("does not fit"));
}

TEST(ConnectionHostile, MoreAnswersThanRequests) {
    auto agent = [](FakeChannel& self, const Frame& frame) {
        self.reply(frame.stream, proto::Response());
        self.reply(frame.stream, proto::Response());
    };
    EXPECT_THAT(complaint(agent), HasSubstr("nobody waits for"));
}

TEST(ConnectionHostile, DataThatNobodyAskedFor) {
    auto agent = [](FakeChannel& self, const Frame& frame) {
        self.reply(FrameType::kData, frame.stream, "x");
    };
    EXPECT_THAT(complaint(agent), HasSubstr("data where none belongs"));
}

TEST(ConnectionHostile, DataBeforeItsTurn) {
    auto agent = [](FakeChannel& self, const Frame& frame) {
        if (frame.stream == 2) self.reply(FrameType::kData, 2, "x");
    };
    Connection::Handlers handlers{.on_data = [](std::span<const std::byte>) { FAIL(); }};
    EXPECT_THAT(complaint(agent, 2, handlers), HasSubstr("not at work"));
}

TEST(ConnectionHostile, EmptyFramesForever) {
    auto agent = [](FakeChannel& self, const Frame& frame) {
        self.reply(FrameType::kData, frame.stream, "");
    };
    EXPECT_THAT(complaint(agent, 1, {.on_data = [](std::span<const std::byte>) {}}),
                HasSubstr("empty frame"));
}

TEST(ConnectionHostile, MoreThanItsCredit) {
    auto agent = [](FakeChannel& self, const Frame& frame) {
        if (frame.type != FrameType::kRequest) return;
        for (int i = 0; i < 6; ++i) self.reply(FrameType::kData, frame.stream, std::string(kMiB, 'x'));
    };
    // The sink throws: so nothing is granted any more, and the fifth MiB is too much.
    auto sink = [](std::span<const std::byte>) { throw std::runtime_error("stop"); };
    EXPECT_THAT(complaint(agent, 1, {.on_data = sink}), HasSubstr("credit"));
}

TEST(ConnectionHostile, CreditForNothing) {
    auto agent = [](FakeChannel& self, const Frame& frame) { self.reply_credit(frame.stream, 1); };
    EXPECT_THAT(complaint(agent), HasSubstr("credit"));
    Connection::Handlers upload{.upload = [](Connection::Upload&) {}};
    EXPECT_THAT(complaint(agent, 1, upload), HasSubstr("credit"));
}

TEST(ConnectionHostile, HostsOwnFrames) {
    for (FrameType type : {FrameType::kHello, FrameType::kRequest, FrameType::kEnd, FrameType::kCancel}) {
        auto agent = [=](FakeChannel& self, const Frame& frame) { self.reply(type, frame.stream, ""); };
        EXPECT_THAT(complaint(agent), HasSubstr("a frame of type"));
    }
}

TEST(ConnectionHostile, AnAnswerThatIsNoMessage) {
    auto agent = [](FakeChannel& self, const Frame& frame) {
        self.reply(FrameType::kResponse, frame.stream, "\xff\xff\xff");
    };
    EXPECT_THAT(complaint(agent), HasSubstr("an answer that is none"));
}

TEST(ConnectionHostile, IsNotSpokenToAgain) {
    FakeChannel channel([](FakeChannel& self, const Frame&) { self.reply(9, proto::Response()); });
    Connection connection(channel, {});
    std::vector<proto::Request> batch = {ping()};
    EXPECT_THROW(connection.run(batch, {}), ProtocolError);
    EXPECT_TRUE(connection.broken());
    EXPECT_THROW(connection.run(batch, {}), Error);
    EXPECT_EQ(channel.writes, 1u);
}

TEST(ConnectionSecrets, AreOverwrittenWhenTheyWereSent) {
    std::string heard;
    FakeChannel channel([&](FakeChannel& self, const Frame& frame) {
        proto::Request request;
        ASSERT_TRUE(request.ParseFromArray(frame.payload.data(), static_cast<int>(frame.payload.size())));
        if (request.has_wake()) heard = request.wake().keys(0).secret();
        self.reply(frame.stream, proto::Response());
    });
    Connection connection(channel, {});
    std::vector<proto::Request> batch(2);
    const std::string secret = "a passphrase that is long enough to be on the heap";
    batch[0].mutable_wake()->add_keys()->set_secret(secret);
    batch[1].mutable_ping();
    connection.run(batch, {});
    EXPECT_EQ(heard, secret);
    EXPECT_EQ(batch[0].wake().keys(0).secret(), std::string(secret.size(), '\0'));
}

}  // namespace
}  // namespace inspect
