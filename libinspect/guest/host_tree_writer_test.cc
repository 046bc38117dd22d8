// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Trees that are as they should be, and trees from an appliance that wants to break out.
#include "guest/host_tree_writer.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "guest/connection.h"

namespace inspect {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

class HostTreeWriterTest : public testing::Test {
  protected:
    void SetUp() override {
        std::string pattern = (fs::temp_directory_path() / "insp-tree-XXXXXX").string();
        ASSERT_NE(mkdtemp(pattern.data()), nullptr);
        base_ = pattern;
        fs::create_directory(base_ / "out");
        fs::create_directory(base_ / "outside");
    }
    void TearDown() override {
        // A directory that was copied with its mode may be one that can't be emptied.
        for (const auto& entry : fs::recursive_directory_iterator(base_))
            if (!entry.is_symlink() && entry.is_directory()) fs::permissions(entry, fs::perms(0700));
        fs::remove_all(base_);
    }

    void begin(const std::string& name = "top") {
        writer_.emplace((base_ / "out").string(), name, options_,
                        [this](const std::string& warning) { warnings_.push_back(warning); });
    }
    static proto::TreeEntry make(const std::string& path, uint32_t mode, uint64_t size = 0) {
        proto::TreeEntry entry;
        entry.set_path(path);
        entry.mutable_stat()->set_mode(mode);
        entry.mutable_stat()->set_size(size);
        entry.mutable_stat()->set_links(1);
        entry.mutable_stat()->set_mtime_ns(1'600'000'000'123'456'789);
        return entry;
    }
    void put(const proto::TreeEntry& entry) {
        proto::Item item;
        *item.mutable_tree_entry() = entry;
        writer_->item(item);
    }
    void directory(const std::string& path, uint32_t mode = 0755) { put(make(path, S_IFDIR | mode)); }
    void file(const std::string& path, const std::string& contents, uint32_t mode = 0644) {
        put(make(path, S_IFREG | mode, contents.size()));
        if (!contents.empty()) writer_->data(std::as_bytes(std::span(contents)));
    }
    void symlink(const std::string& path, const std::string& target) {
        proto::TreeEntry entry = make(path, S_IFLNK | 0777);
        entry.mutable_stat()->set_link_target(target);
        put(entry);
    }
    void hard_link(const std::string& path, const std::string& to) {
        proto::TreeEntry entry = make(path, S_IFREG | 0644);
        entry.set_hard_link_to(to);
        put(entry);
    }
    void seek(uint64_t offset) {
        proto::Item item;
        item.mutable_seek()->set_offset(offset);
        writer_->item(item);
    }
    void finish() { writer_->finish(); }

    fs::path out(const std::string& path) const { return base_ / "out" / path; }
    static std::string contents(const fs::path& path) {
        std::ifstream in(path, std::ios::binary);
        return {std::istreambuf_iterator<char>(in), {}};
    }
    static struct stat status(const fs::path& path) {
        struct stat result {};
        EXPECT_EQ(lstat(path.c_str(), &result), 0) << path;
        return result;
    }
    bool outside_is_empty() const { return fs::is_empty(base_ / "outside"); }

    fs::path base_;
    CopyOptions options_;
    std::vector<std::string> warnings_;
    std::optional<HostTreeWriter> writer_;
};

TEST_F(HostTreeWriterTest, WritesATree) {
    std::vector<std::string> entries;
    options_.on_entry = [&](const std::string& path) { entries.push_back(path); };
    begin();
    directory("", 0750);
    directory("a", 0500);
    file("a/x", "first");
    directory("a/b");
    file("a/b/y", "second", 0600);
    symlink("link", "/etc/passwd");
    file("z", "");
    finish();
    EXPECT_EQ(contents(out("top/a/x")), "first");
    EXPECT_EQ(contents(out("top/a/b/y")), "second");
    EXPECT_EQ(contents(out("top/z")), "");
    EXPECT_EQ(fs::read_symlink(out("top/link")), "/etc/passwd");
    EXPECT_EQ(status(out("top")).st_mode & 07777u, 0750u);
    EXPECT_EQ(status(out("top/a")).st_mode & 07777u, 0500u);
    EXPECT_EQ(status(out("top/a/b/y")).st_mode & 07777u, 0600u);
    for (const char* path : {"top", "top/a", "top/a/x", "top/a/b", "top/link"}) {
        EXPECT_EQ(status(out(path)).st_mtim.tv_sec, 1'600'000'000) << path;
        EXPECT_EQ(status(out(path)).st_mtim.tv_nsec, 123'456'789) << path;
    }
    EXPECT_EQ(entries, (std::vector<std::string>{"top", "top/a", "top/a/x", "top/a/b", "top/a/b/y",
                                                 "top/link", "top/z"}));
    EXPECT_TRUE(warnings_.empty());
    // Nothing temporary is left.
    EXPECT_EQ(std::distance(fs::directory_iterator(out("top")), {}), 3);
}

TEST_F(HostTreeWriterTest, WritesASingleFile) {
    begin("fstab");
    file("", "proc /proc");
    finish();
    EXPECT_EQ(contents(out("fstab")), "proc /proc");
}

TEST_F(HostTreeWriterTest, WritesARootIntoTheDirectoryItself) {
    chmod(out("").c_str(), 0711);
    begin("");
    directory("", 0700);
    file("x", "1");
    finish();
    EXPECT_EQ(contents(out("x")), "1");
    EXPECT_EQ(status(out("")).st_mode & 07777u, 0711u);
}

TEST_F(HostTreeWriterTest, KeepsHoles) {
    begin("sparse");
    put(make("", S_IFREG | 0644, 64 << 20));
    writer_->data(std::as_bytes(std::span("head", 4)));
    seek(32 << 20);
    writer_->data(std::as_bytes(std::span("body", 4)));
    seek(64 << 20);
    finish();
    std::string all = contents(out("sparse"));
    ASSERT_EQ(all.size(), 64u << 20);
    EXPECT_EQ(all.substr(0, 4), "head");
    EXPECT_EQ(all.substr(32 << 20, 4), "body");
    EXPECT_LT(status(out("sparse")).st_blocks, 1000);
}

TEST_F(HostTreeWriterTest, KeepsHardLinks) {
    begin();
    directory("");
    proto::TreeEntry entry = make("a", S_IFREG | 0644, 1);
    entry.mutable_stat()->set_links(2);
    put(entry);
    writer_->data(std::as_bytes(std::span("x", 1)));
    directory("d");
    hard_link("d/b", "a");
    finish();
    EXPECT_EQ(status(out("top/a")).st_ino, status(out("top/d/b")).st_ino);
    // Again over what is there: the same outcome.
    begin();
    directory("");
    put(entry);
    writer_->data(std::as_bytes(std::span("y", 1)));
    directory("d");
    hard_link("d/b", "a");
    finish();
    EXPECT_EQ(contents(out("top/d/b")), "y");
    EXPECT_EQ(status(out("top/a")).st_nlink, 2u);
}

TEST_F(HostTreeWriterTest, ReplacesWhatIsThere) {
    fs::create_directory(out("top"));
    std::ofstream(base_ / "outside/victim") << "victim";
    fs::create_symlink(base_ / "outside/victim", out("top/a"));
    std::ofstream(out("top/b")) << "old";
    begin();
    directory("");
    file("a", "new a");
    symlink("b", "target");
    finish();
    EXPECT_FALSE(fs::is_symlink(out("top/a")));
    EXPECT_EQ(contents(out("top/a")), "new a");
    EXPECT_EQ(contents(base_ / "outside/victim"), "victim");
    EXPECT_EQ(fs::read_symlink(out("top/b")), "target");
}

TEST_F(HostTreeWriterTest, DropsSetIdBitsAndPrivilegedAttributes) {
    begin();
    proto::TreeEntry entry = make("", S_IFREG | 06755, 0);
    auto* xattr = entry.add_xattrs();
    xattr->set_name("security.capability");
    xattr->set_value("junk");
    put(entry);
    finish();
    EXPECT_EQ(status(out("top")).st_mode & 07777u, 0755u);
    EXPECT_TRUE(warnings_.empty());
}

TEST_F(HostTreeWriterTest, KeepsUserAttributes) {
    if (setxattr(base_.c_str(), "user.probe", "1", 1, 0) != 0) GTEST_SKIP() << "no user.* attributes in /tmp";
    begin();
    proto::TreeEntry entry = make("", S_IFREG | 0644, 0);
    auto* xattr = entry.add_xattrs();
    xattr->set_name("user.colour");
    xattr->set_value("green");
    put(entry);
    finish();
    char value[16];
    ASSERT_EQ(getxattr(out("top").c_str(), "user.colour", value, sizeof value), 5);
    EXPECT_EQ(std::string(value, 5), "green");
}

TEST_F(HostTreeWriterTest, RootMayAskForOwnersDevicesAndSetIdBits) {
    if (geteuid() != 0) GTEST_SKIP() << "needs root";
    options_.preserve_owner = true;
    begin();
    directory("");
    proto::TreeEntry entry = make("su", S_IFREG | 04755, 0);
    entry.mutable_stat()->set_uid(1234);
    entry.mutable_stat()->set_gid(4321);
    put(entry);
    put(make("fifo", S_IFIFO | 0640));
    symlink("z", "su");
    finish();
    EXPECT_EQ(status(out("top/su")).st_uid, 1234u);
    EXPECT_EQ(status(out("top/su")).st_gid, 4321u);
    EXPECT_EQ(status(out("top/su")).st_mode & 07777u, 04755u);
    EXPECT_EQ(status(out("top/fifo")).st_mode, S_IFIFO | 0640u);
}

TEST_F(HostTreeWriterTest, LeavesNodesOutWithAWarning) {
    begin();
    directory("");
    put(make("fifo", S_IFIFO | 0640));
    put(make("sock", S_IFSOCK | 0640));
    put(make("sda", S_IFBLK | 0640));
    finish();
    EXPECT_EQ(warnings_.size(), 3u);
    EXPECT_TRUE(fs::is_empty(out("top")));
}

TEST_F(HostTreeWriterTest, GoesOnAfterAnUnreadableEntryAndFailsAtTheEnd) {
    begin();
    directory("");
    put(make("half", S_IFREG | 0644, 10));
    writer_->data(std::as_bytes(std::span("01234", 5)));
    proto::TreeEntry broken = make("half", S_IFREG);
    broken.set_error("Input/output error");
    put(broken);
    file("whole", "1");
    EXPECT_THROW(
        {
            try {
                finish();
            } catch (const Error& error) {
                EXPECT_EQ(error.kind(), ErrorKind::kCorrupt);
                EXPECT_THAT(error.message(), HasSubstr("Input/output error"));
                throw;
            }
        },
        Error);
    EXPECT_FALSE(fs::exists(out("top/half")));
    EXPECT_EQ(contents(out("top/whole")), "1");
}

TEST_F(HostTreeWriterTest, LeavesOnlyCompleteFilesWhenItIsCut) {
    begin();
    directory("");
    file("a", "1");
    put(make("b", S_IFREG | 0644, 10));
    writer_->data(std::as_bytes(std::span("01234", 5)));
    writer_.reset();
    EXPECT_EQ(std::distance(fs::directory_iterator(out("top")), {}), 1);
    EXPECT_EQ(contents(out("top/a")), "1");
}

// ---- an appliance that wants to break out

TEST_F(HostTreeWriterTest, RefusesNamesThatAreNone) {
    for (const std::string& path :
         {std::string(".."), std::string("."), std::string("/etc/cron.d/x"), std::string("../outside/x"),
          std::string("a/../../outside/x"), std::string("a//b"), std::string("a/"), std::string("a/./b"),
          std::string("a\0b", 3), std::string(2000, 'n')}) {
        begin();
        directory("");
        EXPECT_THROW(file(path, "x"), ProtocolError) << path;
    }
    EXPECT_TRUE(outside_is_empty());
    EXPECT_TRUE(fs::is_empty(out("top")));
}

TEST_F(HostTreeWriterTest, NeverWritesThroughASymlinkOfTheStream) {
    begin();
    directory("");
    symlink("a", (base_ / "outside").string());
    EXPECT_THROW(file("a/x", "x"), ProtocolError);  // its directory never came
    begin();
    directory("");
    EXPECT_THROW(directory("a"), Error);  // and a symlink is none
    EXPECT_TRUE(outside_is_empty());
}

TEST_F(HostTreeWriterTest, NeverWritesThroughASymlinkOfTheHost) {
    fs::create_directory_symlink(base_ / "outside", out("top"));
    begin();
    EXPECT_THROW(directory(""), Error);
    EXPECT_TRUE(outside_is_empty());
}

TEST_F(HostTreeWriterTest, ADirectoryThatIsReplacedByASymlinkIsNoWayOut) {
    begin();
    directory("");
    directory("a");
    file("a/x", "1");
    symlink("a2", (base_ / "outside").string());
    // The same name again, now as a symlink: it cannot replace a directory.
    EXPECT_THROW(symlink("a", (base_ / "outside").string()), Error);
    EXPECT_TRUE(outside_is_empty());
}

TEST_F(HostTreeWriterTest, ADirectoryThatIsMovedAwayMeanwhileIsNoWayOut) {
    begin();
    directory("");
    directory("a");
    directory("a/b");
    fs::rename(out("top/a/b"), base_ / "outside/b");
    EXPECT_THROW(file("evil", "x"), Error);
    EXPECT_FALSE(fs::exists(base_ / "outside/evil"));
    EXPECT_FALSE(fs::exists(base_ / "evil"));
}

TEST_F(HostTreeWriterTest, HardLinksGoOnlyToFilesOfThisRun) {
    fs::create_directory(out("top"));
    std::ofstream(out("top/secret")) << "secret";
    for (const char* target : {"secret", "../../outside/x", "/etc/passwd", "none"}) {
        begin();
        directory("");
        EXPECT_THROW(hard_link("x", target), ProtocolError) << target;
    }
    EXPECT_FALSE(fs::exists(out("top/x")));
}

TEST_F(HostTreeWriterTest, AHardLinkIsToTheFileAndNotToWhatTookItsPlace) {
    std::ofstream(base_ / "outside/victim") << "victim";
    begin();
    directory("");
    proto::TreeEntry entry = make("a", S_IFREG | 0644, 0);
    entry.mutable_stat()->set_links(2);
    put(entry);
    symlink("a", (base_ / "outside/victim").string());
    EXPECT_THROW(hard_link("b", "a"), Error);
    EXPECT_FALSE(fs::exists(fs::symlink_status(out("top/b"))));
}

TEST_F(HostTreeWriterTest, RefusesStreamsThatMakeNoSense) {
    begin();
    EXPECT_THROW(writer_->data(std::as_bytes(std::span("x", 1))), ProtocolError);
    EXPECT_THROW(seek(1), ProtocolError);
    EXPECT_THROW(finish(), ProtocolError);
    EXPECT_THROW(file("x", "x"), ProtocolError);  // the top comes first
    directory("");
    EXPECT_THROW(writer_->data(std::as_bytes(std::span("x", 1))), ProtocolError);
    EXPECT_THROW(directory(""), ProtocolError);
    EXPECT_THROW(put(make("x", 0644)), ProtocolError);  // of no type
    EXPECT_THROW(put(make("x", S_IFREG, UINT64_MAX)), ProtocolError);
    EXPECT_THROW(symlink("x", ""), ProtocolError);
    EXPECT_THROW(symlink("x", std::string("a\0b", 3)), ProtocolError);
    EXPECT_THROW(writer_->item(proto::Item()), ProtocolError);
    file("f", "12");
    EXPECT_THROW(writer_->data(std::as_bytes(std::span("x", 1))), ProtocolError);  // more than its size
    EXPECT_THROW(seek(1), ProtocolError);                                          // backwards
    put(make("short", S_IFREG | 0644, 5));
    EXPECT_THROW(finish(), ProtocolError);
    EXPECT_FALSE(fs::exists(out("top/short")));
    begin();
    directory("");
    EXPECT_THROW(file("d/x", "x"), ProtocolError);
}

}  // namespace
}  // namespace inspect
