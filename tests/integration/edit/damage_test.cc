// SPDX-License-Identifier: GPL-2.0-or-later
//
// Images that are damaged or are none, hosts that lack something, appliances that die: each ends with the
// documented exit code and one clear message, and the image is as it was.
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>

#include "support/insp.h"

namespace inspect::test {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using ::testing::HasSubstr;

constexpr uid_t kNobody = 65534;

class Damage : public ApplianceTest {
  protected:
    Outcome cat(const std::string& image, const std::string& path) const {
        return insp({"cat", "-a", image, "-m", "/dev/sda", path});
    }
    // A change is refused with `text`, and the image is as it was.
    void expect_untouched(const std::string& name, const std::string& text) const {
        std::string image = copy_of(name);
        EXPECT_TRUE(
            refused(insp({"write", "-a", image, "-m", "/dev/sda", "/new"}, {.input = "x"}), kFailed, text));
        EXPECT_TRUE(same_bytes(image, guest(name)));
    }
};

TEST_F(Damage, NoImagesAtAll) {
    EXPECT_TRUE(refused(insp({"cat", "-a", "/nonexistent/image", "/x"}), kFailed, "/nonexistent/image"));
    EXPECT_TRUE(refused(insp({"cat", "-a", scratch(), "/x"}), kFailed, "directory"));
    EXPECT_TRUE(refused(insp({"cat", "-a", "/dev/null", "/x"}), kFailed, "/dev/null"));
    EXPECT_TRUE(refused(insp({"filesystems", "-a", guest("empty")}), kFailed, "empty"));
    // A text may be a disk without anything on it.
    EXPECT_TRUE(refused(insp({"filesystems", "-a", guest("text")}), kNothingMatched, "nothing"));
    EXPECT_TRUE(refused(insp({"inspect", "-a", guest("text")}), kNothingMatched, "no operating system"));
    EXPECT_TRUE(refused(cat(guest("text"), "/x"), kFailed, "/dev/sda"));
}

TEST_F(Damage, PathsThatAreNotWhatIsMeant) {
    std::string image = guest("metadata");
    EXPECT_TRUE(refused(cat(image, "/missing"), kFailed, "/missing"));
    EXPECT_TRUE(refused(cat(image, "/dir"), kFailed, "directory"));
    EXPECT_TRUE(refused(cat(image, "/dir/file/below"), kFailed, "/dir/file/below"));
    EXPECT_TRUE(refused(cat(image, "/dir/fifo"), kFailed, "/dir/fifo"));
    EXPECT_TRUE(refused(cat(image, "/dir/null"), kFailed, "/dir/null"));
    EXPECT_TRUE(refused(insp({"ls", "-a", image, "-m", "/dev/sda", "/dir/file"}), kFailed, "/dir/file"));
    EXPECT_TRUE(refused(insp({"cat", "-a", image, "-m", "/dev/sdb", "/x"}), kFailed, "/dev/sdb"));
    EXPECT_TRUE(refused(insp({"cat", "-a", image, "-m", "/dev/sda1", "/x"}), kFailed, "/dev/sda1"));
    EXPECT_TRUE(
        refused(insp({"cat", "-a", image, "-m", "/dev/sda:/:nonsense=1", "/dir/file"}), kFailed, "nonsense"));
}

TEST_F(Damage, DamagedFileSystems) {
    EXPECT_TRUE(refused(cat(guest("corrupt-superblock"), "/hello.txt"), kFailed, "/dev/sda"));
    expect_untouched("corrupt-superblock", "/dev/sda");
    EXPECT_TRUE(refused(cat(guest("truncated"), "/hello.txt"), kFailed, "/dev/sda"));
    expect_untouched("truncated", "/dev/sda");
    // What can be told is told, all the same.
    json report = insp_json({"filesystems", "--json", "-a", guest("truncated")});
    EXPECT_EQ(report.at("filesystems").at(0).at("label"), "cut");
}

TEST_F(Damage, DamagedPartitionTables) {
    Outcome cut = insp({"filesystems", "--json", "-a", guest("truncated-gpt")});
    ASSERT_TRUE(cut.ok()) << cut.describe();
    EXPECT_FALSE(json::parse(cut.out).at("warnings").empty());
    EXPECT_EQ(insp_ok({"cat", "-q", "-a", guest("truncated-gpt"), "-m", "/dev/sda1", "/hello.txt"}),
              "hello, guest\n");

    Outcome past = insp({"filesystems", "--json", "-a", guest("table-past-end")});
    ASSERT_TRUE(past.ok()) << past.describe();
    EXPECT_THAT(json::parse(past.out).at("warnings").dump(), HasSubstr("partition 3"));
    EXPECT_EQ(insp_ok({"cat", "-q", "-a", guest("table-past-end"), "-m", "/dev/sda1", "/hello.txt"}),
              "hello, guest\n");
    EXPECT_TRUE(refused(insp({"cat", "-q", "-a", guest("table-past-end"), "-m", "/dev/sda3", "/x"}), kFailed,
                        "/dev/sda3"));

    EXPECT_EQ(insp_ok({"cat", "-q", "-a", guest("mbr-circle"), "-m", "/dev/sda1", "/hello.txt"}),
              "hello, guest\n");
}

TEST_F(Damage, DirectoryLoop) {
    // It ends, with an error or without, and the rest of the tree is there.
    Outcome outcome = insp({"ls", "-R", "-a", guest("directory-loop"), "-m", "/dev/sda", "/"});
    EXPECT_THAT(outcome.out, HasSubstr("dir/sub/deep.txt"));
    EXPECT_LT(outcome.out.size(), 1'000'000U);
    fs::create_directory(scratch() / "out");
    insp({"copy-out", "-a", guest("directory-loop"), "-m", "/dev/sda", "/dir", scratch() / "out"});
    EXPECT_EQ(read_host_file(scratch() / "out/dir/sub/deep.txt"), "deep\n");
}

TEST_F(Damage, TheGuestsKernelPanics) {
    // A damaged directory in a file system that asks for a panic: our mount option says otherwise.
    std::string image = copy_of("panics");
    EXPECT_TRUE(refused(insp({"write", "-a", image, "-m", "/dev/sda", "/dir/new"}, {.input = "x"}), kFailed,
                        "damaged"));
    EXPECT_TRUE(same_bytes(image, guest("panics")));
    // Unless the user wants it.
    Outcome outcome =
        insp({"write", "-a", image, "-m", "/dev/sda:/:errors=panic", "/dir/new"}, {.input = "x"});
    EXPECT_EQ(outcome.code, kFailed) << outcome.describe();
    EXPECT_THAT(outcome.err, HasSubstr("anic")) << "the kernel's last lines are shown";
    EXPECT_LT(outcome.seconds, 30);
    EXPECT_TRUE(same_bytes(image, guest("panics")));
}

TEST_F(Damage, TheTailOfAnOddImage) {
    std::string image = copy_of("odd-size");
    insp_ok({"write", "-a", image, "-m", "/dev/sda", "/new"}, {.input = "x"});
    EXPECT_EQ(fs::file_size(image), (8U << 20) + 100);
    EXPECT_EQ(read_host_file(image).substr(8 << 20), std::string(100, 't'));
    EXPECT_TRUE(ext_is_clean(image));
}

TEST_F(Damage, ImagesThatMayNotBeWritten) {
    if (geteuid() != 0) GTEST_SKIP() << "only root can run insp as somebody else";
    std::string image = copy_of("ext4");
    chmod(image.c_str(), 0444);
    fs::permissions(scratch(), fs::perms::all);
    fs::permissions(scratch() / "tmp", fs::perms::all);
    Outcome outcome = insp({"write", "-a", image, "-m", "/dev/sda", "/new"}, {.input = "x", .user = kNobody});
    if (outcome.code == 127) GTEST_SKIP() << "the build directory is not readable for everybody";
    EXPECT_TRUE(refused(outcome, kFailed, image));
    EXPECT_TRUE(same_bytes(image, guest("ext4")));
}

TEST_F(Damage, WhatTheHostLacks) {
    EXPECT_TRUE(refused(insp({"cat", "-a", guest("ext4"), "-m", "/dev/sda", "/hello.txt"},
                             {.env = {{"INSP_APPLIANCE", scratch()}}}),
                        kFailed, "appliance"));
    if (geteuid() != 0) GTEST_SKIP() << "only root can run insp as somebody else";
    fs::permissions(scratch(), fs::perms::all);
    fs::permissions(scratch() / "tmp", fs::perms::all);
    std::string image = copy_of("ext4");
    chmod(image.c_str(), 0666);
    Outcome outcome =
        insp({"cat", "-a", image, "-m", "/dev/sda", "/hello.txt"},
             {.env = {{"INSP_CACHE_DIR", scratch() / "cache"}, {"INSP_ENGINE", "kvm"}}, .user = kNobody});
    if (outcome.code == 127) GTEST_SKIP() << "the build directory is not readable for everybody";
    EXPECT_TRUE(refused(outcome, kFailed, "/dev/kvm"));
    Outcome doctor =
        insp({"doctor", "--engine=kvm"}, {.env = {{"INSP_CACHE_DIR", scratch() / "cache"}}, .user = kNobody});
    EXPECT_EQ(doctor.code, kFailed);
    EXPECT_THAT(doctor.out, HasSubstr("kvm"));
}

// As an ordinary user who may open /dev/kvm: whatever its mode on this machine, here everybody may.
TEST_F(Damage, NoRootNeeded) {
    if (geteuid() != 0) GTEST_SKIP() << "not run as root: all other tests show it";
    struct stat kvm = {};
    ASSERT_EQ(stat("/dev/kvm", &kvm), 0);
    fs::path node = scratch() / "kvm";
    if (mknod(node.c_str(), S_IFCHR, kvm.st_rdev) != 0 || chmod(node.c_str(), 0666) != 0)
        GTEST_SKIP() << "no device can be made here";
    fs::permissions(scratch(), fs::perms::all);
    fs::permissions(scratch() / "tmp", fs::perms::all);
    std::string image = copy_of("fake-debian");
    chmod(image.c_str(), 0666);
    Args args = {"unshare",
                 "--mount",
                 "sh",
                 "-c",
                 "mount --bind \"$1\" /dev/kvm && shift && exec setpriv --reuid=65534 --regid=65534 "
                 "--clear-groups \"$@\"",
                 "sh",
                 node};
    for (const std::string& word :
         command({"edit", "-q", "-a", image, "-e", "s/old/rootless/", "/etc/hostname"}))
        args.push_back(word);
    Outcome outcome = run(args, environment({.env = {{"INSP_CACHE_DIR", scratch() / "cache"}}}));
    if (outcome.code == 127) GTEST_SKIP() << "the build directory is not readable for everybody";
    EXPECT_TRUE(outcome.ok()) << outcome.describe();
    EXPECT_EQ(debugfs(cut_out(image, 1), "cat /etc/hostname"), "rootless-debian\n");
    EXPECT_EQ(fs::status(scratch() / "cache").permissions() & fs::perms::all, fs::perms::owner_all)
        << "others may not read or replace snapshots";
}

// Somebody has the image open for writing: an editor that doesn't end yet.
TEST_F(Damage, ImagesInUse) {
    std::string image = copy_of("ext4");
    fs::path go = scratch() / "go", started = scratch() / "started";
    Options options = environment();
    options.env["VISUAL"] = "sh -c 'touch " + started.string() + "; while [ ! -e " + go.string() +
                            " ]; do sleep 0.05; done; echo edited >\"$1\"' sh";
    Child writer(command({"edit", "-a", image, "-m", "/dev/sda", "/hello.txt"}), options);
    for (int i = 0; i < 600 && !fs::exists(started) && writer.running(); i++) usleep(50'000);
    ASSERT_TRUE(fs::exists(started)) << writer.wait().describe();
    EXPECT_TRUE(
        refused(insp({"write", "-a", image, "-m", "/dev/sda", "/x"}, {.input = "x"}), kFailed, "in use"));
    write_host_file(go, "");
    EXPECT_TRUE(writer.wait().ok());
    EXPECT_EQ(debugfs(image, "cat /hello.txt"), "edited\n");

    // Two may read at once.
    Child one(command({"ls", "-lR", "-a", image, "-m", "/dev/sda", "/"}), environment());
    Child two(command({"ls", "-lR", "-a", image, "-m", "/dev/sda", "/"}), environment());
    EXPECT_TRUE(one.wait().ok()) << one.wait().describe();
    EXPECT_TRUE(two.wait().ok()) << two.wait().describe();
}

}  // namespace
}  // namespace inspect::test
