// SPDX-License-Identifier: GPL-2.0-or-later
//
// The peer agrees: libguestfs sees in an image what insp put there. It takes some 20 s to start, hence one
// test.
#include "support/insp.h"

namespace inspect::test {
namespace {

using ::testing::HasSubstr;

class Libguestfs : public ApplianceTest {};

TEST_F(Libguestfs, SeesWhatInspDid) {
    if (!have_program("guestfish"))
        GTEST_SKIP() << "libguestfs is not installed (./run-tests --full installs it)";
    std::string image = copy_of("fake-debian"), other = copy_of("metadata"), xfs = copy_of("xfs");
    insp_ok({"edit", "-q", "-a", image, "-e", "s/old/new/", "/etc/hostname"});
    insp_ok({"write", "-q", "-a", image, "--mode", "0600", "--owner", "alice", "/home/alice/secret"},
            {.input = "hers"});
    insp_ok({"edit", "-a", other, "-m", "/dev/sda", "-e", "s/first/changed/", "/dir/file"});
    insp_ok({"ln", "-a", xfs, "-m", "/dev/sda", "-s", "hello.txt", "/linked"});

    Options options{.input =
                        "run\n"
                        "inspect-os\n"
                        "mount-ro /dev/sda1 /\n"
                        "cat /etc/hostname\n"
                        "umount-all\n"
                        "mount-ro /dev/sda3 /\n"
                        "stat /alice/secret\n"
                        "umount-all\n"
                        "mount-ro /dev/sdb /\n"
                        "cat /dir/file\n"
                        "acl-get-file /dir/file access\n"
                        "lgetxattrs /dir/file\n"
                        "umount-all\n"
                        "mount-ro /dev/sdc /\n"
                        "readlink /linked\n"
                        "cat /hello.txt\n",
                    .env = {{"LIBGUESTFS_BACKEND", "direct"},
                            {"LIBGUESTFS_BACKEND_SETTINGS", "force_tcg"},
                            {"TMPDIR", scratch()}},
                    .timeout = std::chrono::minutes(4)};
    Outcome outcome = run({"guestfish", "--ro", "-a", image, "-a", other, "-a", xfs}, options);
    if (!outcome.ok() && outcome.err.find("supermin") != std::string::npos)
        GTEST_SKIP() << "libguestfs can't make its appliance here: " << outcome.err;
    ASSERT_TRUE(outcome.ok()) << outcome.describe();
    for (const char* text :
         {"/dev/sda1\n", "new-debian\n", "mode: 33152", "uid: 1000", "changed line\nsecond line\n",
          "user:1001:r--", "system_u:object_r:etc_t:s0", "hello.txt\n", "hello, guest\n"}) {
        EXPECT_THAT(outcome.out, HasSubstr(text));
    }
}

}  // namespace
}  // namespace inspect::test
