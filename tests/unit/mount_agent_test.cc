// SPDX-License-Identifier: GPL-2.0-or-later
//
// `insp mount` without a virtual machine: a real FUSE mount, whose agent works on a directory of the host.
// What random operations don't find is here; they are in tests/differential/tree.cc.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <csignal>
#include <future>
#include <set>

#include "host_files.h"
#include "mounted_tree.h"

namespace inspect {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

class MountAgentTest : public testing::Test {
  protected:
    void SetUp() override {
        if (std::string reason = why_no_fuse(); !reason.empty()) GTEST_SKIP() << reason;
        std::string pattern = (fs::temp_directory_path() / "insp-mount-XXXXXX").string();
        ASSERT_NE(mkdtemp(pattern.data()), nullptr);
        base_ = pattern;
        fs::create_directory(base_ / "guest");
    }
    void TearDown() override {
        tree_.reset();
        if (!base_.empty()) fs::remove_all(base_);
    }
    void mount(bool writable = true) { tree_.emplace(base_, writable); }

    fs::path guest(const std::string& path) const { return base_ / "guest" / path; }
    fs::path mounted(const std::string& path) const { return base_ / "mount" / path; }
    static std::string kind_of_error(const std::function<void()>& work) {
        try {
            work();
        } catch (const Error& error) {
            return std::string(error_kind_name(error.kind()));
        }
        return "none";
    }

    fs::path base_;
    std::optional<MountedTree> tree_;
};

TEST_F(MountAgentTest, ShowsWhatIsThere) {
    put(guest("file"), "contents\n");
    fs::create_directories(guest("a/b/c"));
    put(guest("a/b/c/deep"), std::string(300'000, 'x'));
    fs::create_symlink("../file", guest("a/link"));
    fs::create_hard_link(guest("file"), guest("a/hard"));
    mount(false);
    EXPECT_EQ(get(mounted("file")), "contents\n");
    EXPECT_EQ(get(mounted("a/b/c/deep")), std::string(300'000, 'x'));
    EXPECT_EQ(get(mounted("a/link")), "contents\n");
    EXPECT_EQ(fs::read_symlink(mounted("a/link")), "../file");
    EXPECT_EQ(status_of(mounted("file")).st_ino, status_of(mounted("a/hard")).st_ino);
    EXPECT_EQ(status_of(mounted("file")).st_nlink, 2u);
    EXPECT_EQ(open(mounted("new").c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0644), -1);
    EXPECT_EQ(errno, EROFS);
}

TEST_F(MountAgentTest, AFileWithoutANameCanBeUsedOn) {
    mount();
    put(mounted("file"), "before");
    int fd = open(mounted("file").c_str(), O_RDWR | O_CLOEXEC);
    ASSERT_GE(fd, 0);
    ASSERT_EQ(unlink(mounted("file").c_str()), 0);
    put(mounted("file"), "another file of this name");
    EXPECT_EQ(pwrite(fd, "after", 5, 6), 5);
    EXPECT_EQ(fsync(fd), 0);
    EXPECT_EQ(fchmod(fd, 0600), 0);
    char text[32];
    EXPECT_EQ(pread(fd, text, sizeof text, 0), 11);
    EXPECT_EQ(std::string(text, 11), "beforeafter");
    close(fd);
    EXPECT_EQ(get(mounted("file")), "another file of this name");
}

TEST_F(MountAgentTest, AFileThatIsNoMoreLeavesNoErrorBehind) {
    mount();
    for (int i = 0; i < 20; ++i) {
        put(mounted("file"), "contents");
        ASSERT_EQ(unlink(mounted("file").c_str()), 0);
    }
    int fd = open(mounted("").c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    EXPECT_EQ(syncfs(fd), 0);
    close(fd);
}

// Ends with SIGKILL wherever it is in these calls.
pid_t start_linking(const fs::path& directory) {
    pid_t child = fork();
    if (child != 0) return child;
    if (chdir(directory.c_str()) != 0) _exit(1);
    for (int i = 0;; ++i) {
        std::string name = "name-" + std::to_string(i);
        std::string renamed = "renamed-" + std::to_string(i);
        if (link("file", name.c_str()) != 0 || rename(name.c_str(), renamed.c_str()) != 0) _exit(1);
    }
}

std::set<std::string> names_in(const fs::path& directory) {
    std::set<std::string> names;
    for (const auto& entry : fs::directory_iterator(directory)) names.insert(entry.path().filename());
    return names;
}

// The kernel may take the time of change that it owes such a file for a failed write (docs/mount.md): that is
// told once, by close() as EIO or by fsync() as what it is, EINTR. Nothing else fails.
TEST_F(MountAgentTest, AKilledProgramLeavesItsFilesWhole) {
    constexpr int kRounds = 30;
    const std::string contents(10'000, 'x');
    mount();
    for (int round = 0; round < kRounds; ++round) {
        SCOPED_TRACE(round);
        std::string directory = std::to_string(round);
        fs::path path = mounted(directory) / "file";
        ASSERT_EQ(mkdir(mounted(directory).c_str(), 0755), 0);
        put(path, contents);
        pid_t child = start_linking(mounted(directory));
        ASSERT_GT(child, 0);
        usleep(5000 + 100 * static_cast<useconds_t>(round));
        ASSERT_EQ(kill(child, SIGKILL), 0);
        int status = 0;
        ASSERT_EQ(waitpid(child, &status, 0), child);
        ASSERT_TRUE(WIFSIGNALED(status)) << status;
        for (int attempt = 0; attempt < 2; ++attempt) {
            int fd = open(path.c_str(), O_RDWR | O_CLOEXEC);
            ASSERT_GE(fd, 0) << std::strerror(errno);
            std::string read(contents.size() + 1, '\0');
            EXPECT_EQ(::read(fd, read.data(), read.size()), static_cast<ssize_t>(contents.size()));
            EXPECT_EQ(read.substr(0, contents.size()), contents);
            // After fsync() has told it, close() doesn't.
            int synced = round % 2 == 0 || fsync(fd) == 0 ? 0 : errno;
            EXPECT_THAT(synced, testing::AnyOf(0, EINTR));
            int closed = close(fd) == 0 ? 0 : errno;
            EXPECT_THAT(closed, testing::AnyOf(0, round % 2 == 0 ? EIO : 0));
            if (attempt > 0) {
                EXPECT_EQ(synced, 0);
                EXPECT_EQ(closed, 0);
            }
        }
        std::set<std::string> names = names_in(guest(directory));
        EXPECT_EQ(names_in(mounted(directory)), names);
        EXPECT_EQ(status_of(path).st_nlink, names.size());
        EXPECT_EQ(get(guest(directory) / "file"), contents);
    }
}

TEST_F(MountAgentTest, NamesOfAnyBytesAndTreesOfAnyDepth) {
    mount();
    std::string name = "\xff\xfe\n\"'\\ \x01";
    put(mounted(name), "odd");
    EXPECT_EQ(get(guest(name)), "odd");
    std::string path;
    int directory = open(mounted("").c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    for (int i = 0; i < 40; ++i) {
        std::string step(200, static_cast<char>('a' + i % 26));
        ASSERT_EQ(mkdirat(directory, step.c_str(), 0755), 0) << i;
        int next = openat(directory, step.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        ASSERT_GE(next, 0) << i;
        close(directory);
        directory = next;
    }
    int fd = openat(directory, "bottom", O_CREAT | O_WRONLY | O_CLOEXEC, 0644);
    EXPECT_GE(fd, 0);
    EXPECT_EQ(write(fd, "deep", 4), 4);
    close(fd);
    close(directory);
}

TEST_F(MountAgentTest, LargeDirectoriesAreListedOnceAndWhole) {
    constexpr int kFiles = 5000;
    fs::create_directory(guest("many"));
    for (int i = 0; i < kFiles; ++i) put(guest("many/a-rather-long-name-of-a-file-" + std::to_string(i)), "");
    mount();
    std::set<std::string> names;
    for (const auto& entry : fs::directory_iterator(mounted("many")))
        EXPECT_TRUE(names.insert(entry.path().filename()).second);
    EXPECT_EQ(names.size(), kFiles);
    put(mounted("many/new"), "");
    fs::remove(mounted("many/a-rather-long-name-of-a-file-7"));
    names.clear();
    for (const auto& entry : fs::directory_iterator(mounted("many"))) names.insert(entry.path().filename());
    EXPECT_EQ(names.size(), kFiles);
    EXPECT_TRUE(names.contains("new"));
}

TEST_F(MountAgentTest, AChangeIsSeenAfterAListingThatWasMadeInAdvance) {
    for (const char* name : {"a", "b", "c"}) {
        fs::create_directories(guest("top/" + std::string(name) + "/sub"));
        put(guest("top/" + std::string(name) + "/sub/file"), "old");
        fs::create_hard_link(guest("top/" + std::string(name) + "/sub/file"),
                             guest("link-" + std::string(name)));
    }
    mount();
    for (const auto& entry : fs::recursive_directory_iterator(mounted("top/a"))) status_of(entry.path());
    put(mounted("link-b"), "new and longer");
    put(mounted("top/c/sub/file"), "new and longer");
    EXPECT_EQ(status_of(mounted("top/b/sub/file")).st_size, 14);
    EXPECT_EQ(get(mounted("top/b/sub/file")), "new and longer");
    for (const auto& entry : fs::recursive_directory_iterator(mounted("top"))) {
        if (entry.is_regular_file() && entry.path().string().find("/c/") != std::string::npos) {
            EXPECT_EQ(status_of(entry.path()).st_size, 14);
        }
    }
}

TEST_F(MountAgentTest, AttributesAndDevicesAreKept) {
    if (geteuid() != 0) GTEST_SKIP() << "needs root";
    mount();
    ASSERT_EQ(mknod(mounted("null").c_str(), S_IFCHR | 0600, makedev(1, 3)), 0);
    EXPECT_EQ(status_of(guest("null")).st_rdev, makedev(1, 3));
    EXPECT_EQ(open(mounted("null").c_str(), O_RDONLY | O_CLOEXEC), -1) << "a device of the guest's is data";
    put(mounted("file"), "");
    ASSERT_EQ(chown(mounted("file").c_str(), 1234, 5678), 0);
    ASSERT_EQ(chmod(mounted("file").c_str(), 04755), 0);
    EXPECT_EQ(status_of(guest("file")).st_uid, 1234u);
    EXPECT_EQ(status_of(guest("file")).st_mode, S_IFREG | 04755u);
    EXPECT_EQ(setxattr(mounted("file").c_str(), "trusted.key", "value", 5, 0), 0);
    char value[16];
    EXPECT_EQ(getxattr(guest("file").c_str(), "trusted.key", value, sizeof value), 5);
    EXPECT_EQ(getxattr(mounted("file").c_str(), "trusted.key", value, sizeof value), 5);
    EXPECT_EQ(getxattr(mounted("file").c_str(), "user.none", value, sizeof value), -1);
    EXPECT_EQ(errno, ENODATA);
}

TEST_F(MountAgentTest, AMountPointThatIsNotEmptyIsRefused) {
    fs::create_directory(base_ / "mount");
    put(mounted("file"), "");
    EXPECT_THAT([&] { mount(); }, testing::ThrowsMessage<Error>(HasSubstr("is not empty")));
}

TEST_F(MountAgentTest, InUseItStaysMounted) {
    mount();
    put(mounted("file"), "x");
    int fd = open(mounted("file").c_str(), O_RDONLY | O_CLOEXEC);
    EXPECT_EQ(kind_of_error([&] { unmount_from_host(mounted("")); }), "busy");
    EXPECT_EQ(get(mounted("file")), "x");
    close(fd);
    EXPECT_EQ(kind_of_error([&] { tree_->unmount(); }), "none");
    EXPECT_EQ(get(guest("file")), "x");
    EXPECT_EQ(kind_of_error([&] { unmount_from_host(mounted("")); }), "not-found");
}

TEST_F(MountAgentTest, UnmountedLazilyItLastsAsLongAsItsUsers) {
    mount();
    int fd = open(mounted("file").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    ASSERT_GE(fd, 0);
    EXPECT_EQ(write(fd, "one", 3), 3);
    auto unmount = [&](UnmountOptions options) {
        return std::async(std::launch::async, [this, options] {
            return kind_of_error([&] { unmount_from_host(mounted(""), options); });
        });
    };
    auto lazy = unmount({.lazy = true});
    for (int i = 0; i < 100 && fs::exists(mounted("file")); ++i) usleep(50'000);
    EXPECT_FALSE(fs::exists(mounted("file")));
    // Who wants an end as well waits for it; what is on the path now is not ours.
    auto second = unmount({});
    EXPECT_EQ(second.wait_for(std::chrono::milliseconds(500)), std::future_status::timeout);
    EXPECT_EQ(write(fd, "two", 3), 3);
    close(fd);
    EXPECT_EQ(lazy.get(), "none");
    EXPECT_EQ(second.get(), "none");
    EXPECT_EQ(get(guest("file")), "onetwo");
}

TEST_F(MountAgentTest, AnAclsModeIsSeen) {
    mount();
    put(mounted("file"), "");
    ASSERT_EQ(chmod(mounted("file").c_str(), 0644), 0);
    EXPECT_EQ(status_of(mounted("file")).st_mode, S_IFREG | 0644u);
    struct Entry {
        uint16_t tag, permissions;
        uint32_t id;
    };
    struct {
        uint32_t version = 2;
        Entry entries[5] = {{1, 6, ~0u}, {2, 7, 1234}, {4, 4, ~0u}, {16, 7, ~0u}, {32, 4, ~0u}};
    } acl;
    if (setxattr(mounted("file").c_str(), "system.posix_acl_access", &acl, sizeof acl, 0) != 0 &&
        errno == EOPNOTSUPP)
        GTEST_SKIP() << "the temporary directory has no ACLs";
    EXPECT_EQ(status_of(guest("file")).st_mode, S_IFREG | 0674u);
    EXPECT_EQ(status_of(mounted("file")).st_mode, S_IFREG | 0674u);
    ASSERT_EQ(removexattr(mounted("file").c_str(), "system.posix_acl_access"), 0);
    EXPECT_EQ(status_of(mounted("file")).st_mode, status_of(guest("file")).st_mode);
}

TEST_F(MountAgentTest, TheResultIsThereAlsoForWhoAsksLater) {
    mount();
    ASSERT_EQ(umount2(mounted("").c_str(), UMOUNT_NOFOLLOW), 0);
    EXPECT_EQ(kind_of_error([&] { unmount_from_host(mounted(""), {.wait_only = true}); }), "none");
}

TEST_F(MountAgentTest, ADeadApplianceIsAnErrorAndNoHang) {
    fs::create_directory(guest("a"));
    put(guest("a/file"), "contents");
    mount();
    EXPECT_EQ(status_of(mounted("a")).st_nlink, 2u);
    tree_->kill_agent();
    EXPECT_EQ(open(mounted("a/file").c_str(), O_RDONLY | O_CLOEXEC), -1);
    EXPECT_EQ(errno, EIO);
    EXPECT_EQ(mkdir(mounted("b").c_str(), 0755), -1);
    EXPECT_EQ(errno, EIO);
    EXPECT_EQ(kind_of_error([&] { tree_->unmount(); }), "engine");
}

}  // namespace
}  // namespace inspect
