// SPDX-License-Identifier: GPL-2.0-or-later
//
// The tests' own tools tell the truth: a judge that never objects proves nothing.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include "support/insp.h"

namespace inspect::test {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

class Support : public InspTest {};

TEST_F(Support, RunCapturesEverything) {
    Outcome outcome = run({"sh", "-c", "cat; echo to-stderr >&2; exit 7"}, {.input = "to-stdout"});
    EXPECT_EQ(outcome.code, 7);
    EXPECT_EQ(outcome.out, "to-stdout");
    EXPECT_EQ(outcome.err, "to-stderr\n");
    EXPECT_EQ(run({"sh", "-c", "kill -TERM $$"}).signal, SIGTERM);
    EXPECT_EQ(run({"/nonexistent"}).code, 127);
}

TEST_F(Support, RunEndsWhatHangs) {
    Outcome outcome = run({"sleep", "60"}, {.timeout = std::chrono::milliseconds(100)});
    EXPECT_TRUE(outcome.timed_out);
    EXPECT_LT(outcome.seconds, 10);
}

TEST_F(Support, StraysAreFound) {
    run({"sh", "-c", "setsid sleep 60 & exit 0"});
    EXPECT_THAT(strays(std::chrono::milliseconds(50)), SizeIs(1));
    EXPECT_THAT(strays(), IsEmpty());
}

TEST_F(Support, JudgesObjectToDamage) {
    std::string image = copy_of("gpt");
    std::string ext = cut_out(image, 1), xfs = cut_out(image, 5);
    EXPECT_TRUE(ext_is_clean(ext));
    EXPECT_TRUE(xfs_is_clean(xfs));
    EXPECT_EQ(debugfs(ext, "cat /hello.txt"), "hello, guest\n");

    run({"/usr/sbin/debugfs", "-w", "-R", "clri /hello.txt", ext});
    EXPECT_FALSE(ext_is_clean(ext));
    run({"/usr/sbin/xfs_db", "-x", "-c", "agf 0", "-c", "write -d freeblks 1", xfs});
    EXPECT_FALSE(xfs_is_clean(xfs));
    EXPECT_FALSE(same_bytes(ext, cut_out(guest("gpt"), 1)));
}

}  // namespace
}  // namespace inspect::test
