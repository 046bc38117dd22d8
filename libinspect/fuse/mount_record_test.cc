// SPDX-License-Identifier: LGPL-2.1-or-later
#include "fuse/mount_record.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <future>

namespace inspect::fuse {
namespace {

namespace fs = std::filesystem;
using Wish = MountRecord::Wish;

constexpr const char* kMountPoint = "/a/mount/point";

class MountRecordTest : public testing::Test {
  protected:
    void SetUp() override {
        std::string pattern = (fs::temp_directory_path() / "insp-record-XXXXXX").string();
        ASSERT_NE(mkdtemp(pattern.data()), nullptr);
        runtime_ = pattern;
        setenv("XDG_RUNTIME_DIR", pattern.c_str(), 1);
    }
    void TearDown() override { fs::remove_all(runtime_); }

    // `insp umount`, in a thread; it has asked when this returns.
    static std::future<std::optional<MountResult>> ask(MountRecord& record, const UnmountOptions& options) {
        auto asking = std::async(std::launch::async, [=] { return ask_mount(kMountPoint, options); });
        settle(record, 1);
        return asking;
    }
    static Wish settle(MountRecord& record, int messages) {
        Wish wish = Wish::kNone;
        for (int i = 0; i < 2 * messages; ++i) {  // the connection, and what is asked
            std::vector<pollfd> polled;
            for (int fd : record.descriptors()) polled.push_back({fd, POLLIN, 0});
            if (poll(polled.data(), polled.size(), 300) > 0) wish = std::max(wish, record.serve());
        }
        return wish;
    }
    static bool is_told(std::future<std::optional<MountResult>>& asking) {
        return asking.wait_for(std::chrono::milliseconds(200)) == std::future_status::ready;
    }
    // A client by itself: connected, and perhaps no more than that.
    Fd connect(const std::string& message) const {
        Fd fd(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        std::string path;
        for (const auto& entry : fs::directory_iterator(runtime_ / "libinspect"))
            if (entry.path().extension() == ".sock") path = entry.path();
        std::memcpy(address.sun_path, path.c_str(), path.size());
        EXPECT_EQ(::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
        if (!message.empty()) send(fd.get(), message.data(), message.size(), 0);
        return fd;
    }

    fs::path runtime_;
};

TEST_F(MountRecordTest, OnlyWhoAskedIsRefused) {
    MountRecord record(kMountPoint);
    auto unmount = ask(record, {});
    auto wait = ask(record, {.wait_only = true});
    auto lazy = ask(record, {.lazy = true});
    Fd silent = connect("");
    record.serve();
    EXPECT_TRUE(record.wants_lazy());
    record.refuse("in use", false);
    ASSERT_TRUE(is_told(unmount));
    EXPECT_EQ(unmount.get()->error->kind(), ErrorKind::kBusy);
    EXPECT_FALSE(is_told(wait));
    EXPECT_FALSE(is_told(lazy));
    send(silent.get(), "unmount", 7, 0);
    EXPECT_EQ(settle(record, 1), Wish::kUnmount);
    record.refuse("not even lazily", true);
    ASSERT_TRUE(is_told(lazy));
    EXPECT_FALSE(record.wants_lazy());
    EXPECT_FALSE(is_told(wait));
    record.finish({.changed = true, .error = {}});
    ASSERT_TRUE(is_told(wait));
    EXPECT_TRUE(wait.get()->changed);
    EXPECT_FALSE(ask_mount(kMountPoint, {})) << "it was told";
}

TEST_F(MountRecordTest, AResultThatNobodyHeardIsKept) {
    MountRecord record(kMountPoint);
    Fd gone = connect("unmount");
    EXPECT_EQ(settle(record, 1), Wish::kUnmount);
    gone.reset();
    record.finish({.changed = true, .error = {}});
    std::optional<MountResult> result = ask_mount(kMountPoint, {});
    ASSERT_TRUE(result);
    EXPECT_TRUE(result->changed);
}

// As after su(1), which leaves the variable as it was.
TEST_F(MountRecordTest, AnotherUsersRuntimeDirectoryIsLeftAlone) {
    if (geteuid() != 0) GTEST_SKIP() << "only root can give a directory to another user";
    ASSERT_EQ(chown(runtime_.c_str(), 12345, 12345), 0);
    MountRecord record("/another/mount/point");
    EXPECT_TRUE(fs::is_empty(runtime_));
}

}  // namespace
}  // namespace inspect::fuse
