// SPDX-License-Identifier: GPL-2.0-or-later
//
// Real Debian 12 guests, made from Debian's packages, on ext4 and on XFS: the commands that people use,
// without any option that helps them. debugfs, e2fsck and xfs_repair are the judges.
#include <sys/stat.h>

#include "support/insp.h"

namespace inspect::test {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;

class RealGuest : public ApplianceTest {
  protected:
    // The guest of this name, or a skip: it comes from the network.
    bool have(const std::string& name) {
        try {
            image_ = copy_of(name);
            return true;
        } catch (const std::exception& error) {
            reason_ = error.what();
            return false;
        }
    }
    void expect_debian(const std::string& hostname, const std::string& root_type) const {
        json systems = insp_json({"inspect", "--json", "-a", image_}).at("operating_systems");
        ASSERT_EQ(systems.size(), 1U);
        const json& os = systems[0];
        EXPECT_EQ(os.at("root"), "/dev/sda2");
        EXPECT_EQ(os.at("distro"), "debian");
        EXPECT_EQ(os.at("major_version"), 12);
        EXPECT_EQ(os.at("product_name"), "Debian GNU/Linux 12 (bookworm)");
        EXPECT_EQ(os.at("architecture"), "x86_64");
        EXPECT_EQ(os.at("hostname"), hostname);
        EXPECT_EQ(os.at("package_format"), "deb");
        ASSERT_EQ(os.at("mountpoints").size(), 2U) << os.dump(1);
        EXPECT_EQ(os.at("mountpoints")[0].at("path"), "/");
        EXPECT_EQ(os.at("mountpoints")[0].at("type"), root_type);
        EXPECT_EQ(os.at("mountpoints")[1].at("path"), "/boot/efi");
        EXPECT_EQ(os.at("mountpoints")[1].at("device"), "/dev/sda1");
    }
    std::string image_;
    std::string reason_;
};

TEST_F(RealGuest, DebianOnExt4) {
    if (!have("debian12")) GTEST_SKIP() << reason_;
    expect_debian("debian-guest", "ext4");
    EXPECT_EQ(insp_ok({"cat", "-a", image_, "/etc/hostname", "/boot/efi/EFI/debian/grub.cfg"}),
              "debian-guest\nsearch.fs_uuid root\n");
    EXPECT_THAT(insp_ok({"ls", "-l", "-a", image_, "/usr/bin"}),
                AllOf(HasSubstr("-rwsr-xr-x"), HasSubstr("passwd")));
    std::string root = cut_out(image_, 2);
    EXPECT_EQ(insp_ok({"cat", "-a", image_, "/var/lib/dpkg/status"}),
              debugfs(root, "cat /var/lib/dpkg/status"));

    // Edited, written, copied in and out.
    insp_ok({"edit", "-a", image_, "-b", ".orig", "-e", "s/^root:[^:]*/root:locked/", "/etc/shadow"});
    fs::path tree = scratch() / "etc-in";
    fs::create_directories(tree / "conf.d");
    write_host_file(tree / "conf.d/ours.conf", "setting = 1\n");
    insp_ok({"copy-in", "-a", image_, tree, "/etc"});
    fs::create_directory(scratch() / "out");
    insp_ok({"copy-out", "-a", image_, "/etc/ssh", "/boot/efi", scratch() / "out"});

    root = cut_out(image_, 2);
    EXPECT_TRUE(ext_is_clean(root));
    EXPECT_THAT(debugfs(root, "cat /etc/shadow"), StartsWith("root:locked:"));
    EXPECT_THAT(debugfs(root, "cat /etc/shadow.orig"), ::testing::Not(HasSubstr("locked:")));
    EXPECT_THAT(debugfs(root, "stat /etc/shadow"),
                AllOf(HasSubstr("Mode:  0640"), HasSubstr("Group:    42")));
    EXPECT_EQ(debugfs(root, "cat /etc/etc-in/conf.d/ours.conf"), "setting = 1\n");
    EXPECT_EQ(read_host_file(scratch() / "out/ssh/sshd_config"), debugfs(root, "cat /etc/ssh/sshd_config"));
    EXPECT_EQ(read_host_file(scratch() / "out/efi/EFI/debian/grub.cfg"), "search.fs_uuid root\n");
    struct stat key = {};
    ASSERT_EQ(stat((scratch() / "out/ssh/sshd_config").c_str(), &key), 0);
    EXPECT_EQ(key.st_mode & 07777, 0644U);
}

TEST_F(RealGuest, DebianOnXfs) {
    if (!have("debian12-xfs")) GTEST_SKIP() << reason_;
    expect_debian("xfs-guest", "xfs");
    std::string fstab = insp_ok({"cat", "-a", image_, "/etc/fstab"});
    EXPECT_THAT(fstab, HasSubstr(" / xfs defaults 0 1\n"));
    insp_ok({"edit", "-a", image_, "-e", "s/xfs-guest/renamed/", "/etc/hostname", "/etc/hosts"});
    insp_ok({"rm", "-a", image_, "-r", "/usr/share/doc"});
    EXPECT_TRUE(xfs_is_clean(cut_out(image_, 2)));
    EXPECT_EQ(insp_ok({"cat", "-a", image_, "/etc/hostname"}), "renamed\n");
    EXPECT_TRUE(refused(insp({"ls", "-a", image_, "/usr/share/doc"}), kFailed, "/usr/share/doc"));
}

}  // namespace
}  // namespace inspect::test
