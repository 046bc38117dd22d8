// SPDX-License-Identifier: GPL-2.0-or-later
//
// insp copy-out and copy-in: trees with metadata, links and holes, both ways; never outside of the
// destination.
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "support/insp.h"

namespace inspect::test {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::MatchesRegex;

class Copy : public KvmTest {
  protected:
    void SetUp() override {
        KvmTest::SetUp();
        out_ = scratch() / "out";
        fs::create_directory(out_);
    }
    static struct stat status(const fs::path& path) {
        struct stat result = {};
        EXPECT_EQ(lstat(path.c_str(), &result), 0) << path;
        return result;
    }
    fs::path out_;
};

TEST_F(Copy, OutWithMetadata) {
    // Devices can't be made on the host, or should not be: they are left out with a warning.
    Outcome outcome = insp({"copy-out", "-a", guest("metadata"), "-m", "/dev/sda", "/dir", out_});
    ASSERT_TRUE(outcome.ok()) << outcome.describe();
    EXPECT_EQ(read_host_file(out_ / "dir/file"), "first line\nsecond line\n");
    EXPECT_EQ(status(out_ / "dir/file").st_mode & 07777, 0640U);
    EXPECT_EQ(status(out_ / "dir/file").st_mtime, 1700000000);
    EXPECT_EQ(status(out_ / "dir/file").st_uid, geteuid()) << "the owner is kept only when asked for";
    EXPECT_EQ(status(out_ / "dir/file").st_ino, status(out_ / "dir/hard-link").st_ino);
    EXPECT_EQ(status(out_ / "dir/locked").st_mode & 07777, 01777U);
    EXPECT_EQ(fs::read_symlink(out_ / "dir/upwards"), "../../../../dir/single");
    EXPECT_EQ(fs::read_symlink(out_ / "dir/dangling"), "nowhere");
    struct stat sparse = status(out_ / "dir/sparse");
    EXPECT_EQ(sparse.st_size, 4 << 20);
    EXPECT_LT(sparse.st_blocks, 100) << "the hole is a hole";
    std::string contents = read_host_file(out_ / "dir/sparse");
    EXPECT_EQ(contents, "begin" + std::string((4 << 20) - 9, '\0') + "end\n");
    char comment[16];
    ssize_t length = getxattr((out_ / "dir/file").c_str(), "user.comment", comment, sizeof comment);
    if (length >= 0) {  // where the host's file system has xattrs
        EXPECT_EQ(std::string(comment, static_cast<size_t>(length)), "kept");
    }
}

TEST_F(Copy, OutSeveralAndTheirOwners) {
    Args args{"copy-out", "-a", guest("metadata"), "-m", "/dev/sda", "/dir/file", "/dir/plain", out_};
    if (geteuid() == 0) args.insert(args.begin() + 1, "--preserve-owner");
    insp_ok(args);
    if (geteuid() == 0) {
        EXPECT_EQ(status(out_ / "file").st_uid, 1000U);
        EXPECT_EQ(status(out_ / "file").st_gid, 50U);
    }
    EXPECT_EQ(read_host_file(out_ / "plain"), "plain\n");
}

// What lies at the destination never redirects a write.
TEST_F(Copy, OutReplacesLinksRatherThanFollowsThem) {
    fs::create_directory(scratch() / "elsewhere");
    write_host_file(scratch() / "victim", "untouched");
    fs::create_symlink(scratch() / "victim", out_ / "file");
    fs::create_symlink(scratch() / "elsewhere", out_ / "dir");
    insp_ok({"copy-out", "-a", guest("metadata"), "-m", "/dev/sda", "/dir/file", out_});
    EXPECT_EQ(read_host_file(scratch() / "victim"), "untouched");
    EXPECT_TRUE(fs::is_regular_file(fs::symlink_status(out_ / "file")));
    EXPECT_EQ(read_host_file(out_ / "file"), "first line\nsecond line\n");
    EXPECT_TRUE(refused(insp({"copy-out", "-a", guest("metadata"), "-m", "/dev/sda", "/dir", out_}), kFailed,
                        "is in the way"));
    EXPECT_TRUE(fs::is_empty(scratch() / "elsewhere"));
}

TEST_F(Copy, OutStrangeNames) {
    insp_ok({"copy-out", "-a", guest("names"), "-m", "/dev/sda", "/names", out_});
    EXPECT_EQ(read_host_file(out_ / "names/not-utf8-\xff\xfe"), "not-utf8-\xff\xfe\n");
    EXPECT_EQ(read_host_file(out_ / "names/new\nline"), "new\nline\n");
    EXPECT_EQ(read_host_file(out_ / "names/deep/also\nhere"), "deep\n");
    EXPECT_TRUE(fs::exists(out_ / "names" / std::string(255, 'n')));
    EXPECT_EQ(fs::read_symlink(out_ / "names/strange-link"), "target\nwith \xff");
}

TEST_F(Copy, OutLargeFile) {
    engine_ = "auto";
    insp_ok({"copy-out", "-a", guest("large"), "-m", "/dev/sda", "/large", out_});
    std::string contents = read_host_file(out_ / "large");
    ASSERT_EQ(contents.size(), 32U << 20);
    EXPECT_EQ(contents.substr(0, 16), "000000000000001\n");
    write_host_file(scratch() / "expected", debugfs(guest("large"), "cat /large"));
    EXPECT_TRUE(same_bytes(out_ / "large", scratch() / "expected"));
}

TEST_F(Copy, OutRefusals) {
    std::string image = guest("metadata");
    EXPECT_TRUE(
        refused(insp({"copy-out", "-a", image, "-m", "/dev/sda", "/missing", out_}), kFailed, "/missing"));
    EXPECT_TRUE(refused(insp({"copy-out", "-a", image, "-m", "/dev/sda", "/dir", scratch() / "not-there"}),
                        kFailed, "not-there"));
    EXPECT_TRUE(fs::is_empty(out_));
    write_host_file(scratch() / "plain", "");
    EXPECT_TRUE(refused(insp({"copy-out", "-a", image, "-m", "/dev/sda", "/dir", scratch() / "plain"}),
                        kUsage, "not a directory"));
}

TEST_F(Copy, InWithMetadata) {
    fs::path tree = scratch() / "tree";
    fs::create_directories(tree / "sub/deeper");
    write_host_file(tree / "file", "contents\n");
    write_host_file(tree / "sub/deeper/leaf", std::string(100'000, 'l'));
    write_host_file(tree / "new\nline \xff", "odd\n");
    fs::create_hard_link(tree / "file", tree / "other-name");
    fs::create_symlink("../../nowhere", tree / "link");
    write_host_file(tree / "sparse", "start");
    fs::resize_file(tree / "sparse", 8 << 20);
    chmod((tree / "file").c_str(), 0604);
    chmod((tree / "sub").c_str(), 02770);
    bool with_xattr = setxattr((tree / "file").c_str(), "user.origin", "host", 4, 0) == 0;
    timespec times[2] = {{1234567890, 0}, {1234567890, 0}};
    utimensat(AT_FDCWD, (tree / "file").c_str(), times, 0);
    if (geteuid() == 0) {
        ASSERT_EQ(lchown((tree / "file").c_str(), 4321, 1234), 0);
        chmod((tree / "file").c_str(), 0604);
    }

    std::string image = copy_of("ext4");
    insp_ok({"copy-in", "-a", image, "-m", "/dev/sda", tree, "/dir"});
    EXPECT_TRUE(ext_is_clean(image));
    EXPECT_EQ(debugfs(image, "cat /dir/tree/file"), "contents\n");
    EXPECT_EQ(debugfs(image, "cat /dir/tree/sub/deeper/leaf"), std::string(100'000, 'l'));
    std::string file = debugfs(image, "stat /dir/tree/file");
    EXPECT_THAT(file,
                AllOf(HasSubstr("Mode:  0604"), HasSubstr("Links: 2 "), HasSubstr("mtime: 0x499602d2")));
    if (geteuid() == 0) {
        EXPECT_THAT(file, AllOf(HasSubstr("User:  4321"), HasSubstr("Group:  1234")));
    }
    if (with_xattr) {
        EXPECT_THAT(debugfs(image, "ea_list /dir/tree/file"), HasSubstr("user.origin (4) = \"host\""));
    }
    EXPECT_THAT(debugfs(image, "stat /dir/tree/link"), HasSubstr("\"../../nowhere\""));
    EXPECT_THAT(debugfs(image, "stat /dir/tree/sub"), HasSubstr("Mode:  02770"));
    EXPECT_THAT(debugfs(image, "ls /dir/tree"), HasSubstr("new\\x0aline \\xff"));
    std::string sparse = debugfs(image, "stat /dir/tree/sparse");
    // The host tells holes from data in units of its own blocks, 4 KiB at the most.
    EXPECT_THAT(sparse, AllOf(HasSubstr("Size: 8388608"), MatchesRegex("(.|\n)*Blockcount: [2-8]\n(.|\n)*")))
        << "in a guest of 8 MiB only a hole fits";
}

TEST_F(Copy, InAllOrNothing) {
    std::string image = copy_of("full");
    std::string before = sha256(image);
    write_host_file(scratch() / "small", "fits");
    write_host_file(scratch() / "big", std::string(3 << 20, 'x'));
    EXPECT_TRUE(
        refused(insp({"copy-in", "-a", image, "-m", "/dev/sda", scratch() / "small", scratch() / "big", "/"}),
                kFailed, "space"));
    EXPECT_EQ(sha256(image), before);
    EXPECT_TRUE(refused(insp({"copy-in", "-a", image, "-m", "/dev/sda", scratch() / "small", "/missing"}),
                        kFailed, "/missing"));
    EXPECT_TRUE(refused(insp({"copy-in", "-a", image, "-m", "/dev/sda", scratch() / "not-there", "/"}),
                        kFailed, "not-there"));
    EXPECT_EQ(sha256(image), before);
}

}  // namespace
}  // namespace inspect::test
