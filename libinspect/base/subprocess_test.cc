// SPDX-License-Identifier: LGPL-2.1-or-later
#include "base/subprocess.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <functional>
#include <thread>

#include <inspect/error.h>

namespace inspect {
namespace {

using std::chrono::milliseconds;

ErrorKind kind_of(const std::function<void()>& call) {
    try {
        call();
    } catch (const Error& error) {
        return error.kind();
    }
    ADD_FAILURE() << "no error";
    return ErrorKind::kInternal;
}

TEST(Subprocess, RunsAProgramToItsEnd) {
    const auto result =
        run_program({"sh", "-c", "echo out; echo 'err\tor' >&2; exit 3"}, milliseconds(10'000), 100);
    EXPECT_EQ(result.output, "out\n");
    EXPECT_EQ(result.errors, "err?or");
    EXPECT_EQ(Subprocess::describe(result.status), "ended with status 3");
    EXPECT_EQ(run_program({"cat"}, milliseconds(10'000), 100).output, "");  // its input is empty
}

TEST(Subprocess, WhatIsTooLongOrTooMuchIsAnError) {
    const auto start = std::chrono::steady_clock::now();
    EXPECT_EQ(kind_of([] { run_program({"sleep", "100"}, milliseconds(100), 100); }), ErrorKind::kInternal);
    EXPECT_EQ(kind_of([] { run_program({"yes"}, milliseconds(50'000), 100'000); }), ErrorKind::kInternal);
    EXPECT_EQ(kind_of([] { run_program({"insp-no-such-program"}, milliseconds(100), 100); }),
              ErrorKind::kNotFound);
    EXPECT_LT(std::chrono::steady_clock::now() - start, milliseconds(20'000));
    // A program can't fill our memory with its complaints either.
    const auto clean =
        run_program({.arguments = {"env"}, .environment = {"ONLY=this"}, .inherit_environment = false},
                    milliseconds(10'000), 1000);
    EXPECT_EQ(std::count(clean.output.begin(), clean.output.end(), '\n'), 3) << clean.output;
    EXPECT_NE(clean.output.find("ONLY=this\n"), std::string::npos) << clean.output;
    const auto loud = run_program({"sh", "-c", "yes >&2 || true"}, milliseconds(20'000), 100);
    EXPECT_LE(loud.errors.size(), 64u * 1024);
    EXPECT_GT(loud.errors.size(), 60u * 1024);
}

TEST(Subprocess, InheritsWhatItWasGivenAndNothingElse) {
    Fd listing(::memfd_create("output", MFD_CLOEXEC));
    const Fd given(::fcntl(listing.get(), F_DUPFD_CLOEXEC, 101));
    const Fd other(::fcntl(listing.get(), F_DUPFD, 201));  // not close-on-exec
    Subprocess process(
        {.arguments = {"ls", "/proc/self/fd"}, .inherited = {given.get()}, .standard_output = listing.get()});
    ASSERT_TRUE(process.wait(milliseconds(10'000)));
    char text[256] = {};
    ASSERT_GT(::pread(listing.get(), text, sizeof text - 1, 0), 0);
    EXPECT_EQ(std::string(text), "0\n1\n101\n2\n3\n");  // 3 is the directory itself
}

TEST(Subprocess, TheEnvironmentIsOursWithChanges) {
    ::setenv("INSP_TEST_A", "ours", 1);
    ::setenv("INSP_TEST_B", "ours", 1);
    Fd file(::memfd_create("output", MFD_CLOEXEC));
    Subprocess process({.arguments = {"sh", "-c", "echo $INSP_TEST_A $INSP_TEST_B $LC_ALL"},
                        .standard_output = file.get(),
                        .environment = {"INSP_TEST_B=theirs"}});
    ASSERT_TRUE(process.wait(milliseconds(10'000)));
    char text[256] = {};
    ASSERT_GT(::pread(file.get(), text, sizeof text - 1, 0), 0);
    EXPECT_STREQ(text, "ours theirs C.UTF-8\n");
}

TEST(Subprocess, IsEndedGentlyThenByForce) {
    Subprocess gentle({.arguments = {"sleep", "100"}});
    EXPECT_FALSE(gentle.wait(milliseconds(50)));
    EXPECT_EQ(Subprocess::describe(gentle.end(milliseconds(10'000))), "was killed by signal 15");
    int ready[2];
    ASSERT_EQ(::pipe2(ready, O_CLOEXEC), 0);
    Subprocess stubborn({.arguments = {"sh", "-c", "trap '' TERM; echo; while :; do sleep 1; done"},
                         .standard_output = ready[1]});
    char ignored;
    ASSERT_EQ(::read(ready[0], &ignored, 1), 1);
    EXPECT_EQ(Subprocess::describe(stubborn.end(milliseconds(200))), "was killed by signal 9");
    ::close(ready[0]);
    ::close(ready[1]);
}

// However we end. The program is started by a thread that is gone when we are killed, and must have outlived
// that.
TEST(Subprocess, DoesNotOutliveUs) {
    int ends[2];  // the program holds the other end as long as it lives
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    const pid_t us = ::fork();
    if (us == 0) {
        std::thread([&] { new Subprocess({.arguments = {"sleep", "100"}, .inherited = {ends[1]}}); }).join();
        ::close(ends[1]);
        while (true) ::pause();
    }
    ::close(ends[1]);
    pollfd gone = {ends[0], POLLIN, 0};
    EXPECT_EQ(::poll(&gone, 1, 500), 0);
    ::kill(us, SIGKILL);
    ::waitpid(us, nullptr, 0);
    EXPECT_EQ(::poll(&gone, 1, 10'000), 1);
    ::close(ends[0]);
}

}  // namespace
}  // namespace inspect
