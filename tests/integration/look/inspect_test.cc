// SPDX-License-Identifier: GPL-2.0-or-later
//
// insp inspect: which operating systems there are, and where their file systems are mounted.
#include "support/insp.h"

namespace inspect::test {
namespace {

using nlohmann::json;
using ::testing::AllOf;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Not;

class Inspect : public ApplianceTest {
  protected:
    // The device mounted at `path`; empty where there is none.
    static std::string device_at(const json& system, const std::string& path) {
        for (const json& mount : system.at("mountpoints")) {
            if (mount.at("path") == path) return mount.at("device");
        }
        return {};
    }
};

TEST_F(Inspect, FstabInAllItsSpellings) {
    Outcome outcome = insp({"inspect", "--json", "-a", guest("fake-debian")});
    ASSERT_TRUE(outcome.ok()) << outcome.describe();
    json systems = json::parse(outcome.out).at("operating_systems");
    ASSERT_EQ(systems.size(), 1U);
    const json& os = systems[0];
    EXPECT_EQ(os.at("root"), "/dev/sda1");
    EXPECT_EQ(os.at("type"), "linux");
    EXPECT_EQ(os.at("distro"), "debian");
    EXPECT_EQ(os.at("product_name"), "Debian GNU/Linux 12 (bookworm)");
    EXPECT_EQ(os.at("major_version"), 12);
    EXPECT_EQ(os.at("osinfo_id"), "debian12");
    EXPECT_EQ(os.at("architecture"), "x86_64");
    EXPECT_EQ(os.at("hostname"), "old-debian");
    EXPECT_EQ(os.at("machine_id"), "0123456789abcdef0123456789abcdef");
    EXPECT_EQ(os.at("package_format"), "deb");
    EXPECT_EQ(os.at("package_management"), "apt");
    EXPECT_EQ(device_at(os, "/"), "/dev/sda1");          // UUID=
    EXPECT_EQ(device_at(os, "/boot"), "/dev/sda2");      // LABEL=
    EXPECT_EQ(device_at(os, "/home"), "/dev/sda3");      // PARTUUID=
    EXPECT_EQ(device_at(os, "/srv data"), "/dev/sda4");  // /dev/vda4, and a blank in the path
    EXPECT_EQ(device_at(os, "/tmp"), "");
    EXPECT_EQ(device_at(os, "/proc"), "");
    // The line that names a file system which isn't there is said, and does no harm; nofail means don't say
    // it.
    EXPECT_THAT(os.at("warnings").dump(), AllOf(HasSubstr("/gone"), Not(HasSubstr("/may-be-gone"))));
    EXPECT_THAT(outcome.err, HasSubstr("/gone"));

    std::string text = insp_ok({"inspect", "-a", guest("fake-debian")});
    EXPECT_THAT(text, AllOf(HasSubstr("Debian GNU/Linux 12 (bookworm)"), HasSubstr("old-debian"),
                            HasSubstr("/srv data")));
}

TEST_F(Inspect, TheTreeIsMountedAsFstabSays) {
    EXPECT_EQ(insp_ok({"cat", "-q", "-a", guest("fake-debian"), "/boot/vmlinuz", "/home/alice/notes",
                       "/srv data/file", "/vmlinuz"}),
              "kernel\nalice's\nserved\nkernel\n");
}

TEST_F(Inspect, SymlinksStayInTheGuest) {
    EXPECT_EQ(insp_ok({"cat", "-q", "-a", guest("fake-debian"), "/absolute-link", "/escaping-link",
                       "/../../etc/hostname"}),
              "old-debian\nold-debian\nold-debian\n");
}

TEST_F(Inspect, AnotherArchitectureOnXfs) {
    json systems = insp_json({"inspect", "--json", "-a", guest("fake-fedora")}).at("operating_systems");
    ASSERT_EQ(systems.size(), 1U);
    const json& os = systems[0];
    EXPECT_EQ(os.at("root"), "/dev/sda");
    EXPECT_EQ(os.at("distro"), "fedora");
    EXPECT_EQ(os.at("product_name"), "Fedora Linux 40 (Server Edition)");
    EXPECT_EQ(os.at("product_variant"), "server");
    EXPECT_EQ(os.at("major_version"), 40);
    EXPECT_EQ(os.at("osinfo_id"), "fedora40");
    EXPECT_EQ(os.at("architecture"), "aarch64");
    EXPECT_EQ(os.at("package_format"), "rpm");
    EXPECT_EQ(os.at("package_management"), "dnf");
}

TEST_F(Inspect, TwoRootsMustBeToldApart) {
    std::string image = guest("two-roots");
    json systems = insp_json({"inspect", "--json", "-a", image}).at("operating_systems");
    ASSERT_EQ(systems.size(), 2U);
    EXPECT_EQ(systems[0].at("distro"), "debian");
    EXPECT_EQ(systems[1].at("distro"), "fedora");

    Outcome outcome = insp({"cat", "-a", image, "/etc/hostname"});
    EXPECT_TRUE(refused(outcome, kFailed, "--root"));
    EXPECT_THAT(outcome.err, AllOf(HasSubstr("/dev/sda1"), HasSubstr("/dev/sda2")));
    EXPECT_EQ(insp_ok({"cat", "-a", image, "--root", "/dev/sda2", "/etc/hostname"}), "old-fedora\n");
}

TEST_F(Inspect, AGuestOnTwoDisks) {
    EXPECT_EQ(insp_ok({"cat", "-a", guest("first-disk"), "-a", guest("second-disk"), "/home/bob/notes"}),
              "bob's\n");
    // Without the second disk, what is there can still be read; what is missing is said where it matters.
    Outcome outcome = insp({"ls", "-a", guest("first-disk"), "/etc", "/home"});
    EXPECT_TRUE(outcome.ok()) << outcome.describe();
    EXPECT_THAT(outcome.out, HasSubstr("hostname\n"));
    EXPECT_THAT(outcome.err, AllOf(HasSubstr("/dev/sdb1"), HasSubstr("/home")));
}

TEST_F(Inspect, NoOperatingSystem) {
    EXPECT_TRUE(refused(insp({"inspect", "-a", guest("ext4")}), kNothingMatched, "no operating system"));
    json answer = json::parse(insp({"inspect", "--json", "-a", guest("ext4")}).out);
    EXPECT_TRUE(answer.at("operating_systems").empty());
    Outcome outcome = insp({"cat", "-a", guest("ext4"), "/hello.txt"});
    EXPECT_TRUE(refused(outcome, kFailed, "no operating system"));
    EXPECT_THAT(outcome.err, HasSubstr("-m")) << "the way out is said";
}

}  // namespace
}  // namespace inspect::test
