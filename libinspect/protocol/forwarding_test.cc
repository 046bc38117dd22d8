// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Both ends of a forwarding, without what is between them; and ends that break the rules.
#include "protocol/forwarding.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <deque>

namespace inspect::protocol {
namespace {

bool is_readable(int fd) {
    pollfd wait{fd, POLLIN, 0};
    return ::poll(&wait, 1, 0) == 1;
}

std::string read_some(const Fd& fd) {
    std::string text(size_t{1} << 20, '\0');
    const ssize_t n = ::recv(fd.get(), text.data(), text.size(), MSG_DONTWAIT);
    text.resize(n > 0 ? static_cast<size_t>(n) : 0);
    return text;
}

proto::Forwarded piece(uint32_t connection, const std::string& data) {
    proto::Forwarded result;
    result.set_connection(connection);
    result.set_data(data);
    return result;
}

proto::Forwarded opening(uint32_t connection) {
    proto::Forwarded result;
    result.set_connection(connection);
    result.set_opened(true);
    return result;
}

// The agent's end and the host's, and queues between them.
class ForwardingTest : public ::testing::Test {
  protected:
    // What the host connects to is services_.back().
    Fd connect() {
        if (!reachable_) return Fd();
        auto [ours, theirs] = make_socket_pair(SOCK_STREAM);
        services_.push_back(std::move(ours));
        return std::move(theirs);
    }
    // A program connects; its socket.
    Fd open() {
        auto [ours, theirs] = make_socket_pair(SOCK_STREAM);
        agent_.accepted(std::move(theirs), to_host_);
        settle();
        return std::move(ours);
    }
    // Until nothing moves any more.
    void settle() {
        for (bool moved = true; moved;) {
            moved = false;
            for (Forwarding* end : {&agent_, &host_}) {
                if (!is_readable(end->ready_fd())) continue;
                end->work(end == &agent_ ? to_host_ : to_agent_);
                moved = true;
            }
            for (; !for_host_.empty(); for_host_.pop_front(), moved = true)
                EXPECT_TRUE(host_.receive(for_host_.front()));
            for (; !for_agent_.empty(); for_agent_.pop_front(), moved = true)
                EXPECT_TRUE(agent_.receive(for_agent_.front()));
        }
    }

    std::deque<proto::Forwarded> for_host_, for_agent_;
    Forwarding::Send to_host_ = [this](const proto::Forwarded& p) { return for_host_.push_back(p), true; };
    Forwarding::Send to_agent_ = [this](const proto::Forwarded& p) { return for_agent_.push_back(p), true; };
    bool reachable_ = true;
    std::deque<Fd> services_;
    Forwarding agent_, host_{[this] { return connect(); }};
};

TEST_F(ForwardingTest, BytesAndEndsGoBothWays) {
    Fd program = open();
    ASSERT_EQ(services_.size(), 1U);
    write_full(program.get(), std::as_bytes(std::span("ask", 3)), "write");
    ::shutdown(program.get(), SHUT_WR);
    settle();
    EXPECT_EQ(read_some(services_[0]), "ask");
    EXPECT_TRUE(is_readable(services_[0].get())) << "its end";
    write_full(services_[0].get(), std::as_bytes(std::span("answer", 6)), "write");
    settle();
    EXPECT_EQ(read_some(program), "answer");
    EXPECT_FALSE(is_readable(program.get()));
    services_[0].reset();
    settle();
    EXPECT_TRUE(is_readable(program.get())) << "its end";
    EXPECT_FALSE(is_readable(agent_.ready_fd()));
    EXPECT_FALSE(is_readable(host_.ready_fd()));
}

TEST_F(ForwardingTest, WhoDoesNotReadHoldsUpNobodyElse) {
    Fd slow = open(), quick = open();
    const std::string much(size_t{8} << 20, 'x');
    size_t sent = 0;
    // Until neither socket nor window takes any more.
    for (ssize_t n = 0; n >= 0; settle()) {
        n = ::send(slow.get(), much.data(), much.size() - sent, MSG_DONTWAIT);
        if (n > 0) sent += static_cast<size_t>(n);
    }
    EXPECT_LT(sent, much.size());
    EXPECT_FALSE(is_readable(agent_.ready_fd())) << "it would be told the same again and again";
    write_full(quick.get(), std::as_bytes(std::span("x", 1)), "write");
    settle();
    EXPECT_EQ(read_some(services_[1]), "x");
    size_t arrived = 0;
    for (std::string some = read_some(services_[0]); !some.empty(); some = read_some(services_[0])) {
        arrived += some.size();
        settle();
    }
    EXPECT_EQ(arrived, sent);
}

TEST_F(ForwardingTest, AServiceThatIsNotThereIsAReset) {
    reachable_ = false;
    Fd program = open();
    EXPECT_TRUE(is_readable(program.get()));
    EXPECT_EQ(read_some(program), "");
    reachable_ = true;
    Fd second = open();
    write_full(second.get(), std::as_bytes(std::span("x", 1)), "write");
    settle();
    EXPECT_EQ(read_some(services_.at(0)), "x");
}

TEST_F(ForwardingTest, WhatArrivesLateIsDropped) {
    Fd program = open();
    services_[0].reset();
    program.reset();
    settle();
    EXPECT_TRUE(host_.receive(piece(1, "late")));
    EXPECT_TRUE(agent_.receive(piece(1, "late")));
}

TEST_F(ForwardingTest, BrokenRulesAreNoticed) {
    EXPECT_FALSE(host_.receive(piece(1, "x"))) << "never opened";
    EXPECT_FALSE(host_.receive(piece(0, "x")));
    EXPECT_FALSE(host_.receive(opening(2))) << "the numbers have no gaps";
    EXPECT_FALSE(agent_.receive(opening(1))) << "the host opens none";
    ASSERT_TRUE(host_.receive(opening(1)));
    EXPECT_FALSE(host_.receive(opening(1)));
    EXPECT_FALSE(host_.receive(piece(1, std::string(Forwarding::kWindow + 1, 'x'))));
    EXPECT_TRUE(host_.receive(piece(1, std::string(Forwarding::kWindow, 'x'))));
    EXPECT_FALSE(host_.receive(piece(1, "x"))) << "the window is full";
    proto::Forwarded credit;
    credit.set_connection(1);
    credit.set_passed_on(1);
    EXPECT_FALSE(host_.receive(credit)) << "nothing was sent";
    proto::Forwarded end;
    end.set_connection(1);
    end.set_end(true);
    EXPECT_TRUE(host_.receive(end));
    EXPECT_FALSE(host_.receive(end));
    for (uint32_t number = 2; number <= Forwarding::kMaxConnections; ++number)
        EXPECT_TRUE(host_.receive(opening(number)));
    EXPECT_FALSE(host_.receive(opening(Forwarding::kMaxConnections + 1)));
}

}  // namespace
}  // namespace inspect::protocol
