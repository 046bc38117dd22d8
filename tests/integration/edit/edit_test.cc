// SPDX-License-Identifier: GPL-2.0-or-later
//
// insp edit and insp write: contents change, all else stays; a failure changes nothing. debugfs is the judge.
#include <sys/stat.h>

#include "support/insp.h"

namespace inspect::test {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

class Edit : public ApplianceTest {
  protected:
    // An editor for $EDITOR: a shell script, called with the file as $1.
    Options editor(const std::string& script) const {
        std::filesystem::path path = scratch() / "editor";
        write_host_file(path, "#!/bin/sh\n" + script);
        chmod(path.c_str(), 0700);
        return {.env = {{"EDITOR", path}, {"VISUAL", ""}}};
    }
    static std::string metadata_of(const std::string& fs, const std::string& path) {
        return debugfs(fs, "ea_list " + path) + debugfs(fs, "stat " + path);
    }
};

// What writing asks of the virtual machine's disk, on our own.
class EditOnKvm : public Edit {
  protected:
    EditOnKvm() { engine_ = "kvm"; }
};

// As virt-edit: a new file with the old one's metadata takes its place; another hard link keeps the old
// contents.
TEST_F(EditOnKvm, ExpressionKeepsAllMetadata) {
    std::string image = copy_of("metadata");
    insp_ok({"edit", "-a", image, "-m", "/dev/sda", "-b", ".orig", "-e", "s/first/changed/", "/dir/file"});
    EXPECT_TRUE(ext_is_clean(image));
    EXPECT_EQ(debugfs(image, "cat /dir/file"), "changed line\nsecond line\n");
    EXPECT_EQ(debugfs(image, "cat /dir/file.orig"), "first line\nsecond line\n");
    EXPECT_EQ(debugfs(image, "cat /dir/hard-link"), "first line\nsecond line\n");
    std::string kept = metadata_of(image, "/dir/file");
    EXPECT_THAT(kept, AllOf(HasSubstr("Mode:  0640"), HasSubstr("User:  1000"), HasSubstr("Group:    50"),
                            HasSubstr("Links: 1 ")));
    std::string acl =
        "system.posix_acl_access (28) = 01 00 00 00 01 00 06 00 02 00 04 00 e9 03 00 00 04 00 04 00 10 00 04 "
        "00 20 00 00 00";
    EXPECT_THAT(kept, AllOf(HasSubstr("security.selinux (26) = \"system_u:object_r:etc_t:s0\""),
                            HasSubstr("user.comment (4) = \"kept\""), HasSubstr(acl)));
    EXPECT_THAT(metadata_of(image, "/dir/file.orig"), HasSubstr("Links: 2 "));
}

TEST_F(Edit, SeveralFilesAreOneChange) {
    std::string image = copy_of("ext4");
    insp_ok({"edit", "-a", image, "-m", "/dev/sda", "-e", "s/hello/goodbye/; s/deep/deeper/", "/hello.txt",
             "/dir/sub/deep.txt"});
    EXPECT_EQ(debugfs(image, "cat /hello.txt"), "goodbye, guest\n");
    EXPECT_EQ(debugfs(image, "cat /dir/sub/deep.txt"), "deeper\n");
    EXPECT_TRUE(ext_is_clean(image));

    // The first would change, the second isn't there: nothing changes.
    std::string before = sha256(image);
    EXPECT_TRUE(refused(
        insp({"edit", "-a", image, "-m", "/dev/sda", "-e", "s/goodbye/hello/", "/hello.txt", "/missing"}),
        kFailed, "/missing"));
    EXPECT_EQ(sha256(image), before);
}

TEST_F(Edit, NothingIsWrittenUnlessSomethingChanged) {
    std::string image = copy_of("ext4");
    std::string before = sha256(image);
    insp_ok({"edit", "-a", image, "-m", "/dev/sda", "-e", "s/absent/present/", "/hello.txt"});
    EXPECT_EQ(sha256(image), before);
    // A bad expression, an editor that changes nothing and one that fails.
    EXPECT_TRUE(refused(insp({"edit", "-a", image, "-m", "/dev/sda", "-e", "s/unfinished", "/hello.txt"}),
                        kFailed, "Substitution pattern not terminated"));
    EXPECT_EQ(sha256(image), before);
    insp_ok({"edit", "-a", image, "-m", "/dev/sda", "/hello.txt"}, editor("exit 0"));
    EXPECT_EQ(sha256(image), before);
    EXPECT_TRUE(refused(
        insp({"edit", "-a", image, "-m", "/dev/sda", "/hello.txt"}, editor("echo more >>\"$1\"; exit 3")),
        kFailed, "exit code 3"));
    EXPECT_EQ(sha256(image), before);
}

TEST_F(Edit, WithAnEditor) {
    std::string image = copy_of("metadata");
    // Saves as vi does, by a new file; and sees a private file of the same name.
    insp_ok({"edit", "-a", image, "-m", "/dev/sda", "/dir/single"},
            editor("[ \"$(basename \"$1\")\" = single ] || exit 9\n[ \"$(stat -c %a \"$(dirname \"$1\")\")\" "
                   "= 700 ] || exit 8\n"
                   "sed s/alone/edited/ \"$1\" >\"$1.new\" && mv \"$1.new\" \"$1\""));
    EXPECT_EQ(debugfs(image, "cat /dir/single"), "edited\n");
    EXPECT_THAT(metadata_of(image, "/dir/single"),
                AllOf(HasSubstr("Mode:  0640"), HasSubstr("security.selinux"), HasSubstr("User:  1000")));
    EXPECT_TRUE(ext_is_clean(image));
}

TEST_F(EditOnKvm, OnXfs) {
    std::string image = copy_of("xfs");
    insp_ok({"edit", "-a", image, "-m", "/dev/sda", "-e", "s/hello/goodbye/", "/hello.txt"});
    EXPECT_TRUE(xfs_is_clean(image));
    EXPECT_EQ(insp_ok({"cat", "-a", image, "-m", "/dev/sda", "/hello.txt"}), "goodbye, guest\n");
}

TEST_F(EditOnKvm, OnLogicalPartitionsAndBigSectors) {
    std::string mbr = copy_of("mbr"), big = copy_of("gpt-4k");
    insp_ok({"edit", "-a", mbr, "-m", "/dev/sda5", "-e", "s/hello/logical/", "/hello.txt"});
    EXPECT_EQ(debugfs(cut_out(mbr, 5), "cat /hello.txt"), "logical, guest\n");
    EXPECT_TRUE(ext_is_clean(cut_out(mbr, 5)));
    EXPECT_TRUE(same_bytes(cut_out(mbr, 1), cut_out(guest("mbr"), 1)))
        << "the other partitions are untouched";
    EXPECT_TRUE(same_bytes(cut_out(mbr, 6), cut_out(guest("mbr"), 6)));

    insp_ok({"write", "--blocksize=4096", "-a", big, "-m", "/dev/sda1", "/new"}, {.input = "on 4096\n"});
    EXPECT_EQ(debugfs(cut_out(big, 1, 4096), "cat /new"), "on 4096\n");
    EXPECT_TRUE(ext_is_clean(cut_out(big, 1, 4096)));
}

TEST_F(Edit, WhatCannotBeEdited) {
    std::string image = copy_of("metadata");
    std::string before = sha256(image);
    auto edit = [&](const std::string& path) {
        return insp({"edit", "-a", image, "-m", "/dev/sda", "-e", "s/a/b/", path});
    };
    EXPECT_TRUE(refused(edit("/dir"), kFailed, "directory"));
    EXPECT_TRUE(refused(edit("/dir/missing"), kFailed, "/dir/missing"));
    EXPECT_TRUE(refused(edit("/dir/dangling"), kFailed, "/dir/nowhere"));
    EXPECT_TRUE(refused(edit("/dir/self"), kFailed, "symbolic links"));
    EXPECT_TRUE(refused(edit("/dir/fifo"), kFailed, "/dir/fifo"));
    EXPECT_EQ(sha256(image), before);
}

TEST_F(Edit, WriteReplacesAppendsAndCreates) {
    std::string image = copy_of("metadata");
    // Replaced in place: the inode, so also its other name, and all metadata stay.
    insp_ok({"write", "-a", image, "-m", "/dev/sda", "/dir/file"}, {.input = "new\n"});
    insp_ok({"write", "--append", "-a", image, "-m", "/dev/sda", "/dir/file"}, {.input = "appended\n"});
    EXPECT_EQ(debugfs(image, "cat /dir/hard-link"), "new\nappended\n");
    EXPECT_THAT(metadata_of(image, "/dir/file"),
                AllOf(HasSubstr("Mode:  0640"), HasSubstr("User:  1000"), HasSubstr("Links: 2 "),
                      HasSubstr("security.selinux"), HasSubstr("posix_acl_access")));

    // A symlink is followed, inside the guest.
    insp_ok({"write", "-a", image, "-m", "/dev/sda", "/dir/upwards"}, {.input = "through the link\n"});
    EXPECT_EQ(debugfs(image, "cat /dir/single"), "through the link\n");

    insp_ok({"write", "--mode", "0600", "--owner", "12:34", "-a", image, "-m", "/dev/sda", "/dir/created"},
            {.input = std::string((1 << 20) + 4097, 'z')});  // more than a frame of the protocol
    EXPECT_THAT(metadata_of(image, "/dir/created"),
                AllOf(HasSubstr("Mode:  0600"), HasSubstr("User:    12"), HasSubstr("Group:    34"),
                      HasSubstr("Size: 1052673")));
    insp_ok({"write", "-a", image, "-m", "/dev/sda", "/dir/empty"});
    EXPECT_THAT(metadata_of(image, "/dir/empty"),
                AllOf(HasSubstr("Mode:  0644"), HasSubstr("User:     0"), HasSubstr("Size: 0")));
    EXPECT_TRUE(ext_is_clean(image));

    EXPECT_TRUE(refused(insp({"write", "-a", image, "-m", "/dev/sda", "/missing/file"}, {.input = "x"}),
                        kFailed, "/missing"));
    EXPECT_TRUE(refused(insp({"write", "-a", image, "-m", "/dev/sda", "/dir"}, {.input = "x"}), kFailed,
                        "directory"));
}

TEST_F(Edit, WriteKnowsTheGuestsUsers) {
    std::string image = copy_of("fake-debian");
    insp_ok({"write", "-q", "--owner", "alice:staff", "-a", image, "/home/alice/new"}, {.input = "hers\n"});
    EXPECT_THAT(debugfs(cut_out(image, 3), "stat /alice/new"),
                AllOf(HasSubstr("User:  1000"), HasSubstr("Group:    50")));
    EXPECT_TRUE(
        refused(insp({"write", "-q", "--owner", "nobody-knows", "-a", image, "/etc/x"}, {.input = "x"}),
                kFailed, "nobody-knows"));
}

TEST_F(EditOnKvm, NoSpaceLeft) {
    std::string image = copy_of("full");
    std::string before = sha256(image);
    EXPECT_TRUE(refused(
        insp({"write", "-a", image, "-m", "/dev/sda", "/too-big"}, {.input = std::string(2 << 20, 'x')}),
        kFailed, "space"));
    EXPECT_EQ(sha256(image), before);
    EXPECT_EQ(files(), (std::vector<std::string>{"full.img", "tmp"}));
}

}  // namespace
}  // namespace inspect::test
