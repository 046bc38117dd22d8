// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Asking for a secret, at a terminal that the test is at the other end of.
#include "base/secret.h"

#include <gtest/gtest.h>
#include <pty.h>
#include <signal.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include <string>

#include <inspect/error.h>

namespace inspect {
namespace {

constexpr int kRight = 0, kWrong = 1, kCancelled = 2, kNothing = 3;

struct Asked {
    int status = 0;       // of waitpid(2)
    std::string shown;    // what the terminal displayed
    bool echoes = false;  // the terminal afterwards
};

// Types this when the question has come. `handler`: the process has one for Ctrl-C.
Asked ask(const std::string& typed, bool handler) {
    int terminal = -1;
    const pid_t child = ::forkpty(&terminal, nullptr, nullptr, nullptr);
    if (child == 0) {
        if (handler) ::signal(SIGINT, [](int) {});
        try {
            ::_exit(ask_secret("Secret? ", "the test") == "s3cret" ? kRight : kWrong);
        } catch (const Error& error) {
            ::_exit(error.kind() == ErrorKind::kCancelled ? kCancelled : kNothing);
        }
    }
    Asked asked;
    char buffer[256];
    while (asked.shown.find("? ") == std::string::npos) {
        const ssize_t got = ::read(terminal, buffer, sizeof buffer);
        if (got <= 0) break;
        asked.shown.append(buffer, static_cast<size_t>(got));
    }
    EXPECT_EQ(::write(terminal, typed.data(), typed.size()), static_cast<ssize_t>(typed.size()));
    ::waitpid(child, &asked.status, 0);
    termios after{};
    EXPECT_EQ(::tcgetattr(terminal, &after), 0);
    asked.echoes = (after.c_lflag & ECHO) != 0 && (after.c_lflag & ISIG) != 0;
    for (ssize_t got; (got = ::read(terminal, buffer, sizeof buffer)) > 0;)
        asked.shown.append(buffer, static_cast<size_t>(got));
    ::close(terminal);
    return asked;
}

TEST(AskSecret, IsNotShown) {
    const Asked asked = ask("s3cret\n", false);
    EXPECT_TRUE(WIFEXITED(asked.status));
    EXPECT_EQ(WEXITSTATUS(asked.status), kRight);
    EXPECT_EQ(asked.shown.find("s3cret"), std::string::npos) << asked.shown;
    EXPECT_TRUE(asked.echoes);
}

// The terminal shows again what is typed, whether the process dies of it or ends by itself.
TEST(AskSecret, CtrlCEndsIt) {
    const Asked killed = ask("s3c\x03", false);
    EXPECT_TRUE(WIFSIGNALED(killed.status));
    EXPECT_EQ(WTERMSIG(killed.status), SIGINT);
    EXPECT_TRUE(killed.echoes);
    const Asked handled = ask("s3c\x03", true);
    EXPECT_TRUE(WIFEXITED(handled.status));
    EXPECT_EQ(WEXITSTATUS(handled.status), kCancelled);
    EXPECT_TRUE(handled.echoes);
}

TEST(AskSecret, AnEndOfInputIsNoSecret) {
    const Asked asked = ask("\x04", false);
    EXPECT_TRUE(WIFEXITED(asked.status));
    EXPECT_EQ(WEXITSTATUS(asked.status), kNothing);
    EXPECT_TRUE(asked.echoes);
}

}  // namespace
}  // namespace inspect
