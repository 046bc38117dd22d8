// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/qmp.h"

#include <gtest/gtest.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include <inspect/error.h>

namespace inspect {
namespace {

// A monitor whose every answer is in the socket before it is asked for.
class QmpTest : public ::testing::Test {
  protected:
    void SetUp() override {
        auto [ours, theirs] = make_socket_pair(SOCK_STREAM);
        peer = std::move(theirs);
        qmp = std::make_unique<Qmp>(std::move(ours), -1);
    }
    void says(const std::string& text) { write_full(peer.get(), std::as_bytes(std::span(text)), "test"); }
    std::string asked() {
        char text[1000];
        const ssize_t n = ::recv(peer.get(), text, sizeof text, MSG_DONTWAIT);
        return std::string(text, n > 0 ? static_cast<size_t>(n) : 0);
    }
    template <typename Call>
    std::string error_of(Call call) {
        try {
            call();
        } catch (const Error& error) {
            EXPECT_EQ(error.kind(), ErrorKind::kEngine);
            return error.message();
        }
        return "no error";
    }
    Fd peer;
    std::unique_ptr<Qmp> qmp;
};

TEST_F(QmpTest, PassesOverGreetingsAndEvents) {
    says("{\"QMP\": {\"version\": {}}}\r\n{\"return\": {}}\r\n");
    says("{\"event\": \"STOP\", \"data\": {}}\r\n{\"return\": {\"a\": 1}}\r\n");
    qmp->execute("qmp_capabilities");
    qmp->execute("migrate", R"({"uri":"fd:5"})");
    EXPECT_EQ(
        asked(),
        "{\"execute\":\"qmp_capabilities\"}\n{\"execute\":\"migrate\",\"arguments\":{\"uri\":\"fd:5\"}}\n");
}

TEST_F(QmpTest, AwaitsTheEventThatIsMeant) {
    says("{\"event\":\"MIGRATION\",\"data\":{\"status\":\"setup\"}}\n{\"event\":\"RESUME\"}\n");
    says("{\"event\":\"MIGRATION\",\"data\":{\"status\":\"completed\"}}\n{\"event\":\"RESUME\"}\n");
    qmp->await_event("MIGRATION", "completed");
    qmp->await_event("RESUME");
    says("{\"event\":\"MIGRATION\",\"data\":{\"status\":\"failed\"}}\n");
    EXPECT_NE(error_of([&] { qmp->await_event("MIGRATION", "completed"); }).find("failed"),
              std::string::npos);
}

TEST_F(QmpTest, HandsOverADescriptor) {
    says("{\"return\": {}}\n");
    int ends[2];
    ASSERT_EQ(::pipe(ends), 0);
    const Fd read_end(ends[0]), write_end(ends[1]);
    qmp->give_fd("state", write_end.get());
    char text[1000];
    iovec piece = {text, sizeof text};
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))];
    msghdr message = {};
    message.msg_iov = &piece;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    const ssize_t n = ::recvmsg(peer.get(), &message, MSG_DONTWAIT);
    EXPECT_EQ(std::string(text, static_cast<size_t>(std::max<ssize_t>(n, 0))),
              "{\"execute\":\"getfd\",\"arguments\":{\"fdname\":\"state\"}}\n");
    const cmsghdr* header = CMSG_FIRSTHDR(&message);
    ASSERT_NE(header, nullptr);
    EXPECT_EQ(header->cmsg_type, SCM_RIGHTS);
    int fd = -1;
    std::memcpy(&fd, CMSG_DATA(header), sizeof fd);
    ::close(fd);
}

TEST_F(QmpTest, SaysWhyACommandWasRefused) {
    says("{\"error\": {\"class\": \"GenericError\", \"desc\": \"no\\u001bway\"}}\n");
    EXPECT_NE(error_of([&] { qmp->execute("migrate"); }).find("refused migrate: no?way"), std::string::npos);
}

TEST_F(QmpTest, TakesNoGarbage) {
    for (const char* garbage :
         {"garbage\n", "[]\n", "\n", "{\"event\": 5, \"data\": []}\n{\"error\": 7}\n"}) {
        says(garbage);
        EXPECT_NE(error_of([&] { qmp->execute("x"); }), "no error") << garbage;
    }
    says("{\"event\":\"RESUME\",\"data\":[1]}\n");
    peer.reset();
    EXPECT_NE(error_of([&] { qmp->await_event("RESUME", "done"); }).find("hung up"), std::string::npos);
    EXPECT_NE(error_of([&] { qmp->execute("x"); }).find("hung up"), std::string::npos);
}

TEST_F(QmpTest, ALineHasAnEnd) {
    const std::string much(100'000, 'x');
    says(much);
    EXPECT_NE(error_of([&] { qmp->await_event("RESUME"); }).find("too much"), std::string::npos);
}

TEST_F(QmpTest, IsInterrupted) {
    const Fd interrupt(::eventfd(1, EFD_CLOEXEC));
    auto [ours, theirs] = make_socket_pair(SOCK_STREAM);
    Qmp interrupted(std::move(ours), interrupt.get());
    try {
        interrupted.await_event("RESUME");
        ADD_FAILURE();
    } catch (const Error& error) {
        EXPECT_EQ(error.kind(), ErrorKind::kCancelled);
    }
}

}  // namespace
}  // namespace inspect
