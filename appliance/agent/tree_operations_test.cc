// SPDX-License-Identifier: GPL-2.0-or-later
//
// ReadTree and WriteTree, through the protocol, and copying between file systems.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#include "agent_harness.h"

namespace inspect::agent {
namespace {

using testing::ElementsAre;

class TreeOperations : public testing::Test {
  protected:
    TemporaryDirectory root_;
    AgentHarness agent_{root_.path()};

    Answer read(const std::string& path) {
        proto::Request request;
        request.mutable_read_tree()->set_path(path);
        return agent_.call(request);
    }
    // Gives what one read gave to WriteTree, below `name` of the directory `to`.
    Answer replay(const Answer& from, const std::string& to, const std::string& name) {
        proto::Request request;
        request.mutable_write_tree()->set_path(to);
        uint32_t stream = agent_.start(request);
        size_t item = 0;
        size_t data = 0;
        for (const std::string& event : from.events) {
            if (event.starts_with("data ")) {
                size_t size = std::stoul(event.substr(5));
                agent_.send_data(std::string_view(from.data).substr(data, size));
                data += size;
                continue;
            }
            proto::Item sent = from.items[item++];
            if (sent.has_tree_entry()) {
                proto::TreeEntry& entry = *sent.mutable_tree_entry();
                entry.set_path(entry.path().empty() ? name : name + "/" + entry.path());
                if (!entry.hard_link_to().empty()) entry.set_hard_link_to(name + "/" + entry.hard_link_to());
            }
            agent_.send_item(sent);
        }
        agent_.send_end();
        return agent_.finish(stream);
    }
    struct stat status(const std::string& name) {
        struct stat result {};
        EXPECT_EQ(::lstat((root_ / name).c_str(), &result), 0) << name;
        return result;
    }
    void set_times(const std::string& name, time_t seconds) {
        timespec times[2] = {{seconds, 11}, {seconds + 1, 22}};
        ASSERT_EQ(::utimensat(AT_FDCWD, (root_ / name).c_str(), times, AT_SYMLINK_NOFOLLOW), 0);
    }
    void make_source() {
        std::filesystem::create_directories(root_ / "src/d/e");
        write_text(root_ / "src/a", "content of a");
        write_text(root_ / "src/d/\xff\n", "odd name");
        write_text(root_ / "src/empty", "");
        {
            Fd sparse = open_file(root_ / "src/sparse", O_RDWR | O_CREAT, 0640);
            write_full(sparse.get(), std::as_bytes(std::span("head", 4)), "write");
            pwrite_full(sparse.get(), std::as_bytes(std::span("tail", 4)), 3 << 20, "write");
            ASSERT_EQ(::ftruncate(sparse.get(), 5 << 20), 0);
        }
        std::filesystem::create_hard_link(root_ / "src/a", root_ / "src/d/hard");
        std::filesystem::create_symlink("../../outside", root_ / "src/d/link");
        ASSERT_EQ(::mkfifo((root_ / "src/fifo").c_str(), 0622), 0);
        ASSERT_EQ(::chmod((root_ / "src/a").c_str(), 04755), 0);
        ASSERT_EQ(::chmod((root_ / "src/d").c_str(), 01770), 0);
        xattrs_ = ::setxattr((root_ / "src/a").c_str(), "user.one", "1", 1, 0) == 0;
        if (::geteuid() == 0) {
            ASSERT_EQ(::chown((root_ / "src/empty").c_str(), 12, 34), 0);
            devices_ = ::mknod((root_ / "src/null").c_str(), S_IFCHR | 0600, makedev(1, 3)) == 0;
        }
        for (const char* name :
             {"src/a", "src/empty", "src/sparse", "src/d/link", "src/fifo", "src/d/e", "src/d", "src"})
            set_times(name, 1'000'000'000);
    }
    void expect_copied(const std::string& copy) {
        for (const char* name : {"", "/a", "/empty", "/sparse", "/fifo", "/d", "/d/e", "/d/link"}) {
            struct stat from = status(std::string("src") + name);
            struct stat to = status(copy + name);
            EXPECT_EQ(to.st_mode, from.st_mode) << name;
            EXPECT_EQ(to.st_uid, from.st_uid) << name;
            EXPECT_EQ(to.st_gid, from.st_gid) << name;
            EXPECT_EQ(to.st_mtim.tv_sec, from.st_mtim.tv_sec) << name;
            EXPECT_EQ(to.st_mtim.tv_nsec, from.st_mtim.tv_nsec) << name;
            if (!S_ISDIR(from.st_mode)) {
                EXPECT_EQ(to.st_size, from.st_size) << name;
            }
        }
        EXPECT_EQ(read_text(root_ / (copy + "/a")), "content of a");
        EXPECT_EQ(read_text(root_ / (copy + "/d/\xff\n")), "odd name");
        EXPECT_TRUE(read_text(root_ / (copy + "/sparse")) == read_text(root_ / "src/sparse"));
        EXPECT_LE(status(copy + "/sparse").st_blocks, status("src/sparse").st_blocks + 16);
        EXPECT_EQ(status(copy + "/d/hard").st_ino, status(copy + "/a").st_ino);
        EXPECT_EQ(std::filesystem::read_symlink(root_ / (copy + "/d/link")), "../../outside");
        if (devices_) {
            EXPECT_EQ(status(copy + "/null").st_rdev, makedev(1, 3));
        }
        if (xattrs_) {
            char value[4] = {};
            EXPECT_EQ(::getxattr((root_ / (copy + "/a")).c_str(), "user.one", value, sizeof value), 1);
        }
    }

    bool xattrs_ = false;
    bool devices_ = false;
};

TEST_F(TreeOperations, WhatIsReadCanBeWritten) {
    make_source();
    std::filesystem::create_directory(root_ / "to");
    Answer tree = read("/src");
    ASSERT_TRUE(tree.ok()) << tree.error();
    Answer written = replay(tree, "/to", "copy");
    ASSERT_TRUE(written.ok()) << written.error();
    expect_copied("to/copy");
    // Once more over what is there.
    written = replay(tree, "/to", "copy");
    ASSERT_TRUE(written.ok()) << written.error();
    expect_copied("to/copy");
}

TEST_F(TreeOperations, EntriesComeDepthFirstWithDataAndHoles) {
    std::filesystem::create_directories(root_ / "t/d");
    write_text(root_ / "t/a", "12");
    write_text(root_ / "t/d/x", "345");
    std::filesystem::create_hard_link(root_ / "t/a", root_ / "t/d/y");
    EXPECT_THAT(read("/t").events,
                ElementsAre("entry ", "entry a", "data 2", "entry d", "entry d/x", "data 3", "entry d/y"));
    EXPECT_THAT(read("/t/a").events, ElementsAre("entry ", "data 2"));
    ASSERT_EQ(::truncate((root_ / "t/a").c_str(), 0), 0);
    ASSERT_EQ(::truncate((root_ / "t/a").c_str(), 1 << 20), 0);
    EXPECT_THAT(read("/t/a").events, ElementsAre("entry ", "seek 1048576"));
    std::filesystem::create_symlink("a", root_ / "t/link");
    Answer link = read("/t/link");
    ASSERT_EQ(link.items.size(), 1u);
    EXPECT_EQ(link.items[0].tree_entry().stat().link_target(), "a");
    EXPECT_EQ(read("/").events.front(), "entry ");
    EXPECT_EQ(read("/gone").error(), "cannot read /gone: No such file or directory");
}

TEST_F(TreeOperations, HostilePathsAreRefused) {
    std::filesystem::create_directory(root_ / "to");
    write_text(root_ / "outside", "outside");
    std::filesystem::create_directory_symlink("..", root_ / "to/up");
    for (const char* path : {"", "..", "../x", "a/../../x", "/x", "a//b", ".", "not/there", "up/x"}) {
        proto::Request request;
        request.mutable_write_tree()->set_path("/to");
        uint32_t stream = agent_.start(request);
        proto::Item item;
        item.mutable_tree_entry()->set_path(path);
        item.mutable_tree_entry()->mutable_stat()->set_mode(S_IFREG | 0644);
        agent_.send_item(item);
        agent_.send_end();
        EXPECT_EQ(agent_.finish(stream).response.failure().kind(), proto::USAGE) << path;
    }
    EXPECT_FALSE(std::filesystem::exists(root_ / "x"));
    // A directory entry that names an existing symlink is not entered through it.
    proto::Request request;
    request.mutable_write_tree()->set_path("/to");
    uint32_t stream = agent_.start(request);
    proto::Item item;
    item.mutable_tree_entry()->set_path("up");
    item.mutable_tree_entry()->mutable_stat()->set_mode(S_IFDIR | 0755);
    agent_.send_item(item);
    agent_.send_end();
    EXPECT_EQ(agent_.finish(stream).error(), "cannot replace /to/up by a directory: it is a symbolic link");
}

TEST_F(TreeOperations, ACancelledTreeLeavesNoHalfFile) {
    std::filesystem::create_directory(root_ / "to");
    proto::Request request;
    request.mutable_write_tree()->set_path("/to");
    uint32_t stream = agent_.start(request);
    proto::Item item;
    item.mutable_tree_entry()->set_path("f");
    item.mutable_tree_entry()->mutable_stat()->set_mode(S_IFREG | 0644);
    agent_.send_item(item);
    agent_.send_data("half");
    agent_.send(protocol::FrameType::kCancel, stream, {});
    EXPECT_FALSE(agent_.finish(stream).ok());
    EXPECT_TRUE(std::filesystem::is_empty(root_ / "to"));
}

TEST_F(TreeOperations, MovingToAnotherFileSystemCopies) {
    make_source();
    std::filesystem::create_directory(root_ / "other");
    if (::mount("none", (root_ / "other").c_str(), "tmpfs", 0, "size=16m") < 0)
        GTEST_SKIP() << "mounting needs root";
    proto::Request request;
    request.mutable_read_tree()->set_path("/src");
    Answer copy = agent_.call(request);
    ASSERT_TRUE(replay(copy, "/", "moved").ok());
    proto::Request move;
    move.mutable_rename()->set_from("/moved");
    move.mutable_rename()->set_to("/other");
    Answer moved = agent_.call(move);
    EXPECT_TRUE(moved.ok()) << moved.error();
    EXPECT_FALSE(std::filesystem::exists(root_ / "moved"));
    xattrs_ = false;  // tmpfs has none of the user's
    expect_copied("other/moved");
    // No room: the source stays, and nothing is left behind.
    write_text(root_ / "big", std::string(20 << 20, 'x'));
    move.mutable_rename()->set_from("/big");
    Answer full = agent_.call(move);
    EXPECT_EQ(full.response.failure().kind(), proto::NO_SPACE) << full.error();
    EXPECT_TRUE(std::filesystem::exists(root_ / "big"));
    size_t left = 0;
    for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(root_ / "other")) ++left;
    EXPECT_EQ(left, 1u);
    // The same for an upload.
    proto::Request write;
    write.mutable_write_file()->set_path("/other/file");
    uint32_t stream = agent_.start(write);
    std::string chunk(1 << 20, 'y');
    for (int i = 0; i < 4; ++i) agent_.send_data(chunk);
    agent_.send_end();
    EXPECT_TRUE(agent_.finish(stream).ok());
    ::umount2((root_ / "other").c_str(), MNT_DETACH);
}

TEST_F(TreeOperations, AFullFileSystemKeepsTheOldContents) {
    std::filesystem::create_directory(root_ / "small");
    if (::mount("none", (root_ / "small").c_str(), "tmpfs", 0, "size=2m") < 0)
        GTEST_SKIP() << "mounting needs root";
    write_text(root_ / "small/f", "old");
    for (auto mode : {proto::WriteFile::REPLACE, proto::WriteFile::APPEND, proto::WriteFile::EDIT}) {
        proto::Request write;
        write.mutable_write_file()->set_path("/small/f");
        write.mutable_write_file()->set_mode(mode);
        uint32_t stream = agent_.start(write);
        std::string chunk(1 << 20, 'y');
        for (int i = 0; i < 3; ++i) agent_.send_data(chunk);
        agent_.send_end();
        Answer answer = agent_.finish(stream);
        EXPECT_EQ(answer.response.failure().kind(), proto::NO_SPACE) << answer.error();
        EXPECT_EQ(answer.error().substr(0, 23), "cannot write /small/f: ");
        EXPECT_EQ(read_text(root_ / "small/f"), "old");
    }
    size_t left = 0;
    for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(root_ / "small")) ++left;
    EXPECT_EQ(left, 1u);
    ::umount2((root_ / "small").c_str(), MNT_DETACH);
}

}  // namespace
}  // namespace inspect::agent
