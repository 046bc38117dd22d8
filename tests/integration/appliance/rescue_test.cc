// SPDX-License-Identifier: GPL-2.0-or-later
//
// insp rescue, at a terminal: what a user types and sees, and what becomes of the terminal.
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include <chrono>
#include <cstring>

#include "support/insp.h"

namespace inspect::test {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using Clock = std::chrono::steady_clock;

constexpr auto kPatience = std::chrono::seconds(90);

// insp at a terminal of its own.
class AtTerminal {
  public:
    AtTerminal(const Args& argv, const Options& options) {
        winsize window{.ws_row = 31, .ws_col = 101, .ws_xpixel = 0, .ws_ypixel = 0};
        pid_ = ::forkpty(&master_, nullptr, nullptr, &window);
        if (pid_ == 0) {
            for (const auto& [name, value] : options.env) ::setenv(name.c_str(), value.c_str(), 1);
            ::setenv("TERM", "xterm", 1);
            std::vector<char*> args;
            for (const std::string& arg : argv) args.push_back(const_cast<char*>(arg.c_str()));
            args.push_back(nullptr);
            ::execv(args[0], args.data());
            ::_exit(127);
        }
        ::tcgetattr(master_, &before_);
    }
    ~AtTerminal() {
        if (!code_) {
            ::kill(pid_, SIGKILL);
            ::waitpid(pid_, nullptr, 0);
        }
        ::close(master_);
    }
    AtTerminal(const AtTerminal&) = delete;
    AtTerminal& operator=(const AtTerminal&) = delete;

    void type(const std::string& text) const {
        ASSERT_EQ(::write(master_, text.data(), text.size()), static_cast<ssize_t>(text.size()));
    }
    // Waits until this was shown after what was waited for before.
    ::testing::AssertionResult shows(const std::string& text) {
        auto deadline = Clock::now() + kPatience;
        while (shown_.find(text, seen_) == std::string::npos) {
            if (Clock::now() > deadline || !read_some())
                return ::testing::AssertionFailure() << "\"" << text << "\" was not shown after: " << shown_;
        }
        seen_ = shown_.find(text, seen_) + text.size();
        return ::testing::AssertionSuccess();
    }
    void resize(unsigned short rows, unsigned short columns) const {
        winsize window{.ws_row = rows, .ws_col = columns, .ws_xpixel = 0, .ws_ypixel = 0};
        ASSERT_EQ(::ioctl(master_, TIOCSWINSZ, &window), 0);
    }
    // The exit code; 1000 and the signal's number.
    int wait() {
        auto deadline = Clock::now() + kPatience;
        int status = 0;
        while (::waitpid(pid_, &status, WNOHANG) == 0) {
            if (Clock::now() > deadline) return -1;
            read_some();
        }
        code_ = WIFSIGNALED(status) ? 1000 + WTERMSIG(status) : WEXITSTATUS(status);
        while (read_some()) {
        }
        return *code_;
    }
    bool is_raw() const {
        termios now{};
        ::tcgetattr(master_, &now);
        return (now.c_lflag & (ICANON | ECHO | ISIG)) == 0;
    }
    bool is_restored() const {
        termios now{};
        ::tcgetattr(master_, &now);
        return now.c_lflag == before_.c_lflag && now.c_iflag == before_.c_iflag &&
               now.c_oflag == before_.c_oflag;
    }
    const std::string& shown() const { return shown_; }
    pid_t pid() const { return pid_; }

  private:
    bool read_some() {
        pollfd input{master_, POLLIN, 0};
        if (::poll(&input, 1, 100) <= 0) return !code_;
        char buffer[4096];
        ssize_t count = ::read(master_, buffer, sizeof buffer);
        if (count > 0) shown_.append(buffer, static_cast<size_t>(count));
        return count > 0;
    }

    int master_ = -1;
    pid_t pid_ = -1;
    termios before_{};
    std::string shown_;
    size_t seen_ = 0;
    std::optional<int> code_;
};

class Rescue : public ApplianceTest {
  protected:
    std::unique_ptr<AtTerminal> start(const Args& args) const {
        return std::make_unique<AtTerminal>(command(args), environment());
    }
};

TEST_F(Rescue, IsATerminalAndKeepsChanges) {
    std::string image = copy_of("ext4");
    std::string log = scratch() / "session.log";
    auto shell = start({"rescue", "-a", image, "-m", "/dev/sda", "--log", log});
    ASSERT_TRUE(shell->shows("mounted on /sysroot"));
    ASSERT_TRUE(shell->shows("><rescue> "));
    EXPECT_TRUE(shell->is_raw());
    shell->type("echo si''ze $(stty size) $(tty)\r");
    ASSERT_TRUE(shell->shows("size 31 101 /dev/pts/"));
    ASSERT_TRUE(shell->shows("><rescue> "));
    // The window grows, and ^C is for what runs inside.
    shell->resize(40, 120);
    shell->type("(echo sta''rted; exec sleep 1000)\r");
    ASSERT_TRUE(shell->shows("started"));
    ::usleep(500'000);
    shell->type("\x03");
    ASSERT_TRUE(shell->shows("><rescue> "));
    shell->type("echo si''ze $(stty size) > /sysroot/size; cat /sysroot/size\r");
    ASSERT_TRUE(shell->shows("size 40 120"));
    shell->type("\x1d?");
    ASSERT_TRUE(shell->shows("discard all changes"));
    shell->type("exit 3\r");
    EXPECT_EQ(shell->wait(), kSuccess) << shell->shown();
    EXPECT_THAT(shell->shown(), HasSubstr("The changes are in the images."));
    EXPECT_TRUE(shell->is_restored());
    EXPECT_EQ(debugfs(image, "cat /size"), "size 40 120\n");
    EXPECT_TRUE(ext_is_clean(image));
    EXPECT_THAT(read_host_file(log), HasSubstr("size 40 120"));
}

TEST_F(Rescue, EndsByItsKeys) {
    std::string image = copy_of("ext4");
    std::string before = sha256(image);
    auto discarded = start({"rescue", "-q", "-a", image, "-m", "/dev/sda"});
    ASSERT_TRUE(discarded->shows("><rescue> "));
    discarded->type("echo x > /sysroot/x && sync && echo do''ne\r");
    ASSERT_TRUE(discarded->shows("done"));
    discarded->type(
        "\x1d"
        "d");
    EXPECT_EQ(discarded->wait(), kSuccess) << discarded->shown();
    EXPECT_TRUE(discarded->is_restored());
    EXPECT_EQ(sha256(image), before);

    auto kept = start({"rescue", "-q", "-e", "^t", "-a", image, "-m", "/dev/sda"});
    ASSERT_TRUE(kept->shows("><rescue> "));
    kept->type("echo x > /sysroot/x && echo do''ne; sleep 1000\r");
    ASSERT_TRUE(kept->shows("done"));
    kept->type("\x14q");
    EXPECT_EQ(kept->wait(), kSuccess) << kept->shown();
    EXPECT_TRUE(kept->is_restored());
    EXPECT_EQ(debugfs(image, "cat /x"), "x\n");
    EXPECT_TRUE(ext_is_clean(image));
}

TEST_F(Rescue, RestoresTheTerminalWhenItIsEnded) {
    std::string image = copy_of("ext4");
    std::string before = sha256(image);
    for (int signal : {SIGTERM, SIGHUP, SIGQUIT}) {
        auto shell = start({"rescue", "-q", "-a", image, "-m", "/dev/sda"});
        ASSERT_TRUE(shell->shows("><rescue> "));
        shell->type("echo x > /sysroot/x && sync && echo do''ne\r");
        ASSERT_TRUE(shell->shows("done"));
        EXPECT_TRUE(shell->is_raw());
        ::kill(shell->pid(), signal);
        EXPECT_EQ(shell->wait(), 1000 + signal) << shell->shown();
        EXPECT_TRUE(shell->is_restored()) << signal;
    }
    EXPECT_EQ(sha256(image), before);
}

TEST_F(Rescue, ReadOnlyForgets) {
    std::string image = copy_of("ext4");
    std::string before = sha256(image);
    // Also without a terminal: fed from a file.
    Outcome outcome = insp({"rescue", "--ro", "-a", image}, {.input = "tune2fs -L changed /dev/sda\nexit\n"});
    EXPECT_EQ(outcome.code, kSuccess) << outcome.describe();
    EXPECT_THAT(outcome.err, HasSubstr("Read-only"));
    EXPECT_THAT(outcome.out, HasSubstr("tune2fs 1."));
    EXPECT_EQ(sha256(image), before);
    EXPECT_TRUE(refused(insp({"rescue", "-e", "q", "-a", image}), kUsage, "escape key"));
}

}  // namespace
}  // namespace inspect::test
