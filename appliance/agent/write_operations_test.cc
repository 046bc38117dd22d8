// SPDX-License-Identifier: GPL-2.0-or-later
//
// WriteFile and EditFile, through the protocol.
#include <gtest/gtest.h>
#include <sys/xattr.h>

#include "agent_harness.h"

namespace inspect::agent {
namespace {

using Mode = proto::WriteFile;

class WriteOperations : public testing::Test {
  protected:
    TemporaryDirectory root_;
    AgentHarness agent_{root_.path()};

    proto::Request write(const std::string& path, Mode::Mode mode) {
        proto::Request request;
        request.mutable_write_file()->set_path(path);
        request.mutable_write_file()->set_mode(mode);
        return request;
    }
    Answer edit(const std::string& path, const std::string& expression, const std::string& suffix = {}) {
        proto::Request request;
        request.mutable_edit_file()->set_path(path);
        request.mutable_edit_file()->set_expression(expression);
        request.mutable_edit_file()->set_backup_suffix(suffix);
        return agent_.call(request);
    }
    struct stat status(const std::string& name) {
        struct stat result {};
        EXPECT_EQ(::lstat((root_ / name).c_str(), &result), 0) << name;
        return result;
    }
    size_t count_files() {
        size_t count = 0;
        for ([[maybe_unused]] const auto& entry : std::filesystem::recursive_directory_iterator(root_.path()))
            ++count;
        return count;
    }
};

TEST_F(WriteOperations, CreatesAFile) {
    EXPECT_TRUE(agent_.call_with_data(write("/new", Mode::REPLACE), "content").ok());
    EXPECT_EQ(read_text(root_ / "new"), "content");
    EXPECT_EQ(status("new").st_mode & 07777, 0644u);
    proto::Request request = write("/strict", Mode::CREATE);
    request.mutable_write_file()->set_permissions(04751);
    EXPECT_TRUE(agent_.call_with_data(request, "").ok());
    EXPECT_EQ(status("strict").st_mode & 07777, 04751u);
    Answer again = agent_.call_with_data(request, "x");
    EXPECT_EQ(again.error(), "cannot create /strict: File exists");
    EXPECT_EQ(count_files(), 2u);
}

TEST_F(WriteOperations, ReplacingKeepsTheInode) {
    for (size_t size : {size_t{3}, size_t{5} << 20}) {  // held in memory, and beside the file
        write_text(root_ / "f", std::string(1 << 20, 'o'));
        ASSERT_EQ(::chmod((root_ / "f").c_str(), 0600), 0);
        std::filesystem::remove(root_ / "hard");
        std::filesystem::create_hard_link(root_ / "f", root_ / "hard");
        ino_t inode = status("f").st_ino;
        std::string content(size, 'n');
        uint32_t stream = agent_.start(write("/f", Mode::REPLACE));
        for (size_t at = 0; at < size; at += 500000)
            agent_.send_data(std::string_view(content).substr(at, 500000));
        agent_.send_end();
        EXPECT_TRUE(agent_.finish(stream).ok());
        EXPECT_EQ(status("f").st_ino, inode);
        EXPECT_EQ(status("f").st_mode & 07777, 0600u);
        EXPECT_TRUE(read_text(root_ / "hard") == content);
        EXPECT_EQ(count_files(), 2u);
    }
}

TEST_F(WriteOperations, ACancelledOrRefusedUploadLeavesNothing) {
    write_text(root_ / "f", "old");
    uint32_t stream = agent_.start(write("/f", Mode::REPLACE));
    agent_.send_data("half");
    agent_.send(protocol::FrameType::kCancel, stream, {});
    EXPECT_EQ(agent_.finish(stream).response.failure().kind(), proto::CANCELLED);
    EXPECT_EQ(read_text(root_ / "f"), "old");
    for (auto mode : {Mode::APPEND, Mode::EDIT}) {
        stream = agent_.start(write("/f", mode));
        agent_.send_data("half");
        agent_.send(protocol::FrameType::kCancel, stream, {});
        EXPECT_FALSE(agent_.finish(stream).ok());
        EXPECT_EQ(read_text(root_ / "f"), "old");
    }
    stream = agent_.start(write("/new", Mode::REPLACE));
    agent_.send_data("half");
    proto::Item item;
    item.mutable_seek()->set_offset(1);
    agent_.send_item(item);
    EXPECT_EQ(agent_.finish(stream).response.failure().kind(), proto::USAGE);
    agent_.send_end();
    EXPECT_EQ(count_files(), 1u);
}

TEST_F(WriteOperations, Appends) {
    EXPECT_TRUE(agent_.call_with_data(write("/log", Mode::APPEND), "one\n").ok());
    EXPECT_TRUE(agent_.call_with_data(write("/log", Mode::APPEND), "two\n").ok());
    EXPECT_EQ(read_text(root_ / "log"), "one\ntwo\n");
}

TEST_F(WriteOperations, SymlinksAreFollowedAndStay) {
    std::filesystem::create_directory(root_ / "d");
    write_text(root_ / "d/target", "old");
    std::filesystem::create_symlink("/d/target", root_ / "link");
    std::filesystem::create_symlink("d/made", root_ / "dangling");
    EXPECT_TRUE(agent_.call_with_data(write("/link", Mode::REPLACE), "new").ok());
    EXPECT_TRUE(agent_.call_with_data(write("/dangling", Mode::REPLACE), "fresh").ok());
    EXPECT_TRUE(edit("/link", "s/new/edited/").response.edit().changed());
    EXPECT_EQ(read_text(root_ / "d/target"), "edited");
    EXPECT_EQ(read_text(root_ / "d/made"), "fresh");
    EXPECT_TRUE(std::filesystem::is_symlink(root_ / "link"));
}

TEST_F(WriteOperations, SpecialFilesAndDirectoriesAreRefused) {
    ASSERT_EQ(::mkfifo((root_ / "fifo").c_str(), 0600), 0);
    std::filesystem::create_directory(root_ / "d");
    for (auto mode : {Mode::REPLACE, Mode::APPEND, Mode::EDIT}) {
        EXPECT_EQ(agent_.call_with_data(write("/fifo", mode), "x").error(),
                  "/fifo is not a regular file: it is a FIFO");
        EXPECT_EQ(agent_.call_with_data(write("/d", mode), "x").error(),
                  "/d is not a regular file: it is a directory");
    }
    EXPECT_EQ(edit("/fifo", "1").error(), "/fifo is not a regular file: it is a FIFO");
    EXPECT_EQ(agent_.call_with_data(write("/d/..", Mode::REPLACE), "x").response.failure().kind(),
              proto::USAGE);
}

TEST_F(WriteOperations, EditingByUploadKeepsMetadataInANewInode) {
    write_text(root_ / "f", "old");
    ASSERT_EQ(::chmod((root_ / "f").c_str(), 0604), 0);
    bool xattrs = ::setxattr((root_ / "f").c_str(), "user.colour", "blue", 4, 0) == 0;
    ino_t inode = status("f").st_ino;
    proto::Request request = write("/f", Mode::EDIT);
    request.mutable_write_file()->set_backup_suffix("~");
    EXPECT_TRUE(agent_.call_with_data(request, "new").ok());
    EXPECT_EQ(read_text(root_ / "f"), "new");
    EXPECT_EQ(read_text(root_ / "f~"), "old");
    EXPECT_EQ(status("f~").st_ino, inode);
    EXPECT_EQ(status("f").st_mode & 07777, 0604u);
    if (xattrs) {
        char value[8] = {};
        EXPECT_EQ(::getxattr((root_ / "f").c_str(), "user.colour", value, sizeof value), 4);
        EXPECT_STREQ(value, "blue");
    }
    EXPECT_EQ(agent_.call_with_data(write("/missing", Mode::EDIT), "x").error(),
              "cannot edit /missing: No such file or directory");
    request.mutable_write_file()->set_backup_suffix("/../x");
    EXPECT_EQ(agent_.call_with_data(request, "x").response.failure().kind(), proto::USAGE);
    EXPECT_EQ(count_files(), 2u);
}

TEST_F(WriteOperations, OwnersAreTheGuests) {
    if (::geteuid() != 0) GTEST_SKIP() << "changing owners needs root";
    std::filesystem::create_directory(root_ / "etc");
    write_text(root_ / "etc/passwd", "guest:x:4321:8765::/:/bin/sh\n");
    write_text(root_ / "etc/group", "guests:x:999:\n");
    proto::Request request = write("/f", Mode::REPLACE);
    request.mutable_write_file()->set_owner("guest:guests");
    EXPECT_TRUE(agent_.call_with_data(request, "x").ok());
    EXPECT_EQ(status("f").st_uid, 4321u);
    EXPECT_EQ(status("f").st_gid, 999u);
    request.mutable_write_file()->set_owner("nobody-here");
    EXPECT_EQ(agent_.call_with_data(request, "x").error(), "the guest has no user 'nobody-here'");
}

TEST_F(WriteOperations, PerlEdits) {
    write_text(root_ / "f", "one\ntwo\nthree\n");
    ASSERT_EQ(::chmod((root_ / "f").c_str(), 0640), 0);
    ino_t inode = status("f").st_ino;
    Answer changed = edit("/f", "s/two/TWO $lineno/; # comment", ".bak");
    ASSERT_TRUE(changed.ok()) << changed.error();
    EXPECT_TRUE(changed.response.edit().changed());
    EXPECT_EQ(read_text(root_ / "f"), "one\nTWO 2\nthree\n");
    EXPECT_EQ(read_text(root_ / "f.bak"), "one\ntwo\nthree\n");
    EXPECT_EQ(status("f").st_mode & 07777, 0640u);
    EXPECT_NE(status("f").st_ino, inode);
}

TEST_F(WriteOperations, AnEditThatChangesNothingWritesNothing) {
    write_text(root_ / "f", "one\ntwo\n");
    write_text(root_ / "empty", "");
    struct stat before = status("f");
    Answer same = edit("/f", "s/absent/x/", ".bak");
    ASSERT_TRUE(same.ok()) << same.error();
    EXPECT_FALSE(same.response.edit().changed());
    EXPECT_FALSE(edit("/empty", "s/x/y/").response.edit().changed());
    EXPECT_EQ(status("f").st_ino, before.st_ino);
    EXPECT_EQ(count_files(), 2u);
}

TEST_F(WriteOperations, AnEditMayShortenOrLengthen) {
    std::string line = std::string(99, 'x') + "\n";
    std::string big;
    for (int i = 0; i < 100000; ++i) big += line;  // 10 MB: more than is held in memory
    write_text(root_ / "f", big);
    ASSERT_TRUE(edit("/f", "$_ = '' if $lineno == 100000").response.edit().changed());
    EXPECT_TRUE(read_text(root_ / "f") == big.substr(0, big.size() - line.size()));
    ASSERT_TRUE(edit("/f", "tr/x/y/ if $lineno > 5").response.edit().changed());
    std::string expected = big.substr(0, 5 * line.size());
    std::string other = std::string(99, 'y') + "\n";
    for (int i = 5; i < 99999; ++i) expected += other;
    EXPECT_TRUE(read_text(root_ / "f") == expected);
    EXPECT_EQ(count_files(), 1u);
}

TEST_F(WriteOperations, PerlsOwnWordsAreTheError) {
    write_text(root_ / "f", "one\n");
    Answer syntax = edit("/f", "s/unfinished");
    EXPECT_NE(syntax.error().find("cannot edit /f: perl exited with 255: Substitution"), std::string::npos)
        << syntax.error();
    EXPECT_NE(syntax.error().find("at -e line 1."), std::string::npos) << syntax.error();
    Answer died = edit("/f", "$_ = 'changed'; print; die qq(enough\\n)");
    EXPECT_NE(died.error().find("enough"), std::string::npos) << died.error();
    EXPECT_EQ(read_text(root_ / "f"), "one\n");
    EXPECT_EQ(count_files(), 1u);
}

TEST_F(WriteOperations, ARunningEditCanBeCancelled) {
    write_text(root_ / "f", "one\n");
    proto::Request request;
    request.mutable_edit_file()->set_path("/f");
    request.mutable_edit_file()->set_expression("sleep 1 while 1");
    uint32_t stream = agent_.start(request);
    agent_.send(protocol::FrameType::kCancel, stream, {});
    EXPECT_EQ(agent_.finish(stream).response.failure().kind(), proto::CANCELLED);
    EXPECT_EQ(read_text(root_ / "f"), "one\n");
}

TEST_F(WriteOperations, ScrubbingOverwritesAndRemoves) {
    const std::string secret = "secret";
    std::string contents;
    for (int i = 0; i < 20'000; ++i) contents += secret;
    write_text(root_ / "f", contents);
    std::filesystem::create_hard_link(root_ / "f", root_ / "other");
    std::filesystem::create_symlink("f", root_ / "link");
    const auto scrub = [&](const std::string& path) {
        proto::Request request;
        request.mutable_scrub()->set_path(path);
        return agent_.call(request);
    };
    EXPECT_EQ(scrub("/link").error(), "cannot scrub /link: it is a symbolic link");
    EXPECT_FALSE(scrub("/").ok());
    EXPECT_FALSE(scrub("/none").ok());
    EXPECT_EQ(read_text(root_ / "f"), contents);
    Answer done = scrub("/f");
    EXPECT_TRUE(done.ok()) << done.error();
    EXPECT_EQ(done.response.warnings_size(), 1) << "about the other name";
    EXPECT_FALSE(std::filesystem::exists(root_ / "f"));
    // Where it was.
    EXPECT_EQ(read_text(root_ / "other").find(secret), std::string::npos);
    EXPECT_EQ(status("other").st_size % status("other").st_blksize, 0);
    EXPECT_GE(status("other").st_size, static_cast<off_t>(contents.size()));
    write_text(root_ / "empty", "");
    EXPECT_TRUE(scrub("/empty").ok());
}

}  // namespace
}  // namespace inspect::agent
