// SPDX-License-Identifier: GPL-2.0-or-later
#include "cli/output.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <inspect/error.h>

#include "cli/captured_output.h"

namespace inspect::cli {
namespace {

TEST(Output, KeepsTheOrderOfSmallAndLargeWrites) {
    CapturedOutput captured;
    std::string large(200'000, 'L');
    captured.out().write("a");
    captured.out().write(large);
    captured.out().put('b');
    for (int i = 0; i < 70'000; ++i) captured.out().put('c');
    EXPECT_EQ(captured.text(), "a" + large + "b" + std::string(70'000, 'c'));
}

TEST(Output, AFullDiskIsAnError) {
    Output out(open("/dev/full", O_WRONLY | O_CLOEXEC));
    out.write("x");
    try {
        out.close();
        FAIL() << "no error";
    } catch (const Error& error) {
        EXPECT_EQ(error.kind(), ErrorKind::kNoSpace);
        EXPECT_EQ(error.message(), "cannot write to the standard output: No space left on device");
    }
}

TEST(Output, AClosedPipeIsNotAnError) {
    signal(SIGPIPE, SIG_IGN);
    int fds[2];
    ASSERT_EQ(pipe2(fds, O_CLOEXEC), 0);
    ::close(fds[0]);
    Output out(fds[1]);
    out.write("x");
    EXPECT_THROW(out.flush(), BrokenPipe);
    EXPECT_NO_THROW(out.flush());  // what failed is not tried again
    ::close(fds[1]);
    signal(SIGPIPE, SIG_DFL);
}

TEST(Output, ADescriptorThatIsNotOpenIsFineUntilItIsUsed) {
    Output unused(-1);
    EXPECT_NO_THROW(unused.close());
    Output used(4095);
    used.write("x");
    EXPECT_THROW(used.close(), Error);
}

}  // namespace
}  // namespace inspect::cli
