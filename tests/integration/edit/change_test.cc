// SPDX-License-Identifier: GPL-2.0-or-later
//
// mkdir, rm, mv, chmod, chown, ln and touch, as their namesakes on the host do it. debugfs is the judge.
#include "support/insp.h"

namespace inspect::test {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

class Change : public ApplianceTest {
  protected:
    void SetUp() override {
        ApplianceTest::SetUp();
        if (!IsSkipped()) image_ = copy_of("metadata");
    }
    // insp COMMAND on the image, its root mounted.
    Args on_image(const std::string& command, const Args& rest) const {
        Args args{command, "-a", image_, "-m", "/dev/sda"};
        args.insert(args.end(), rest.begin(), rest.end());
        return args;
    }
    std::string stat(const std::string& path) const { return debugfs(image_, "stat " + path); }
    std::string image_;
};

TEST_F(Change, Mkdir) {
    insp_ok(on_image("mkdir", {"-p", "/a/b/c", "/dir"}));
    insp_ok(on_image("mkdir", {"--mode", "2750", "/private"}));
    EXPECT_THAT(stat("/a/b/c"), AllOf(HasSubstr("Type: directory"), HasSubstr("Mode:  0755")));
    EXPECT_THAT(stat("/private"), HasSubstr("Mode:  02750"));
    EXPECT_TRUE(ext_is_clean(image_));
    EXPECT_TRUE(refused(insp(on_image("mkdir", {"/dir"})), kFailed, "/dir"));
    EXPECT_TRUE(refused(insp(on_image("mkdir", {"/x/y"})), kFailed, "/x"));
}

TEST_F(Change, Rm) {
    EXPECT_TRUE(refused(insp(on_image("rm", {"/dir/file", "/missing"})), kFailed, "/missing"));
    EXPECT_TRUE(refused(insp(on_image("rm", {"/dir"})), kFailed, "/dir"));
    EXPECT_TRUE(same_bytes(image_, guest("metadata"))) << "all of them or none";
    insp_ok(on_image("rm", {"-f", "/missing", "/dir/absolute", "/dir/file"}));
    EXPECT_EQ(debugfs(image_, "cat /dir/single"), "alone\n") << "a link's target stays";
    EXPECT_THAT(stat("/dir/hard-link"), HasSubstr("Links: 1 "));
    insp_ok(on_image("rm", {"-r", "/dir"}));
    EXPECT_EQ(stat("/dir"), "");
    EXPECT_TRUE(ext_is_clean(image_));
}

TEST_F(Change, Mv) {
    insp_ok(on_image("mv", {"/dir/file", "/dir/plain", "/dir/locked"}));
    insp_ok(on_image("mv", {"-T", "/dir/locked", "/renamed"}));
    EXPECT_THAT(stat("/renamed/file"), AllOf(HasSubstr("User:  1000"), HasSubstr("Links: 2 ")));
    insp_ok(on_image("mv", {"/dir/sparse", "/renamed/plain"}));
    EXPECT_THAT(stat("/renamed/plain"), HasSubstr("Size: 4194304"));
    EXPECT_TRUE(ext_is_clean(image_));
    EXPECT_TRUE(
        refused(insp(on_image("mv", {"-n", "/dir/single", "/renamed/plain"})), kFailed, "/renamed/plain"));
    EXPECT_TRUE(refused(insp(on_image("mv", {"/missing", "/x"})), kFailed, "/missing"));
    EXPECT_TRUE(refused(insp(on_image("mv", {"/dir", "/dir/locked2"})), kFailed, "/dir"));
}

TEST_F(Change, ChmodAndChown) {
    insp_ok(on_image("chmod", {"u=rwx,g+x,o=", "/dir/single", "/dir/plain"}));
    EXPECT_THAT(stat("/dir/single"), HasSubstr("Mode:  0750"));
    EXPECT_THAT(stat("/dir/plain"), HasSubstr("Mode:  0750"))
        << "as chmod(1): u= takes the set-user-ID bit away";
    insp_ok(on_image("chmod", {"-R", "0700", "/dir"}));
    EXPECT_THAT(stat("/dir/locked"), HasSubstr("Mode:  0700"));
    insp_ok(on_image("chown", {"-R", "7:8", "/dir"}));
    EXPECT_THAT(stat("/dir/fifo"), AllOf(HasSubstr("User:     7"), HasSubstr("Group:     8")));
    insp_ok(on_image("chown", {":9", "/dir/relative"}));
    EXPECT_THAT(stat("/dir/single"), AllOf(HasSubstr("User:     7"), HasSubstr("Group:     9")));
    insp_ok(on_image("chown", {"-h", "5", "/dir/relative"}));
    EXPECT_THAT(stat("/dir/relative"), HasSubstr("User:     5"));
    EXPECT_TRUE(ext_is_clean(image_));
    EXPECT_TRUE(refused(insp(on_image("chmod", {"rubbish", "/dir"})), kFailed, "rubbish"));
    EXPECT_TRUE(refused(insp(on_image("chown", {"nobody-knows", "/dir"})), kFailed, "nobody-knows"));
}

TEST_F(Change, Ln) {
    insp_ok(on_image("ln", {"/dir/plain", "/dir/locked"}));
    EXPECT_THAT(stat("/dir/locked/plain"), HasSubstr("Links: 2 "));
    insp_ok(on_image("ln", {"-s", "../outside the guest", "/new-link"}));
    EXPECT_THAT(stat("/new-link"), HasSubstr("\"../outside the guest\""));
    EXPECT_TRUE(refused(insp(on_image("ln", {"-s", "elsewhere", "/new-link"})), kFailed, "/new-link"));
    insp_ok(on_image("ln", {"-sf", "elsewhere", "/new-link"}));
    EXPECT_THAT(stat("/new-link"), HasSubstr("\"elsewhere\""));
    EXPECT_TRUE(ext_is_clean(image_));
}

TEST_F(Change, Touch) {
    insp_ok(on_image("touch", {"--date", "2024-02-29T12:00:00Z", "--time", "mtime", "/dir/single"}));
    EXPECT_THAT(stat("/dir/single"), AllOf(HasSubstr("mtime: 0x65e071c0"), HasSubstr("atime: 0x6553f100")));
    insp_ok(on_image("touch", {"-c", "/not-made"}));
    EXPECT_EQ(stat("/not-made"), "");
    time_t before = time(nullptr);
    insp_ok(on_image("touch", {"/made"}));
    std::string made = stat("/made");
    EXPECT_THAT(made, HasSubstr("Size: 0"));
    // The appliance's clock is the host's, though it comes from a snapshot.
    size_t at = made.find("mtime: 0x");
    ASSERT_NE(at, std::string::npos) << made;
    auto stamp = static_cast<time_t>(std::stoul(made.substr(at + 9, 8), nullptr, 16));
    EXPECT_GE(stamp, before - 1);
    EXPECT_LE(stamp, time(nullptr) + 1);
    EXPECT_TRUE(ext_is_clean(image_));
}

TEST_F(Change, SymlinksDontLeadOut) {
    // From the host's point of view /etc is not in the guest at all.
    insp_ok(on_image("ln", {"-s", "/../../../../etc", "/dir/out"}));
    EXPECT_TRUE(
        refused(insp(on_image("write", {"/dir/out/written"}), {.input = "x"}), kFailed, "/dir/out/written"));
    insp_ok(on_image("mkdir", {"/etc"}));
    insp_ok(on_image("write", {"/dir/out/written"}), {.input = "inside\n"});
    EXPECT_EQ(debugfs(image_, "cat /etc/written"), "inside\n");
    EXPECT_NE(access("/etc/written", F_OK), 0);
}

}  // namespace
}  // namespace inspect::test
