// SPDX-License-Identifier: GPL-2.0-or-later
//
// insp customize on a Debian, judged by debugfs, e2fsck and crypt(3).
#include <crypt.h>

#include "support/insp.h"

namespace inspect::test {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using ::testing::Not;

class Customize : public InspTest {
  protected:
    void SetUp() override {
        InspTest::SetUp();
        if (!INSP_APPLIANCE_BUILT) GTEST_SKIP() << "the appliance is not built (INSP_APPLIANCE=OFF)";
    }
    // A real guest, small; its root file system is the image's second partition.
    Outcome customize(const std::string& image, Args args) const {
        args.insert(args.begin(), {"customize", "-a", image});
        return insp(args, {.env = {{"INSP_ENGINE", "auto"}, {"NEW_PASSWORD", "from the environment"}}});
    }
    std::string root_of(const std::string& image) const { return cut_out(image, 2); }
};

// The password field of a user in a shadow file.
std::string field_of(const std::string& shadow, const std::string& user) {
    const size_t at = shadow.find(user + ":") + user.size() + 1;
    return shadow.substr(at, shadow.find(':', at) - at);
}

TEST_F(Customize, ARealGuest) {
    std::string image = copy_of("debian12-small");
    write_host_file(scratch() / "script", "echo \"as $(id -u)\"; touch /ran\n");
    write_host_file(scratch() / "key.pub", "ssh-ed25519 AAAA test\n");
    write_host_file(scratch() / "commands", "# with a secret\npassword root:password:from a file\n");
    Outcome done = customize(image, {"--hostname",
                                     "web-01.example.org",
                                     "--timezone",
                                     "Europe/Berlin",
                                     "--locale",
                                     "C.UTF-8",
                                     "--commands-from-file",
                                     scratch() / "commands",
                                     "--add-user",
                                     "alice",
                                     "--password",
                                     "alice:env:NEW_PASSWORD",
                                     "--ssh-inject",
                                     "alice:file:" + (scratch() / "key.pub").string(),
                                     "--run",
                                     scratch() / "script",
                                     "--firstboot",
                                     scratch() / "script",
                                     "--firstboot-command",
                                     "echo second",
                                     "--write",
                                     "/etc/one:line",
                                     "--append-line",
                                     "/etc/one:two",
                                     "--delete",
                                     "/etc/cron.d/*",
                                     "--upload",
                                     (scratch() / "script").string() + ":/usr/local/bin/tool",
                                     "--copy",
                                     "/etc/one:/etc/three",
                                     "--chown",
                                     "1:2:/etc/three",
                                     "--chmod",
                                     "0640:/etc/three",
                                     "--edit",
                                     "/etc/three:s/two/2/",
                                     "--link",
                                     "/etc/one:/etc/l1:/etc/l2",
                                     "--selinux-relabel"});
    ASSERT_TRUE(done.ok()) << done.describe();
    EXPECT_THAT(done.err, HasSubstr("Setting the host name: web-01.example.org\n"));
    EXPECT_THAT(done.err, HasSubstr("as 0\n"));
    EXPECT_THAT(done.err, Not(HasSubstr("from a file")));
    std::string root = root_of(image);
    EXPECT_TRUE(ext_is_clean(root));
    EXPECT_EQ(debugfs(root, "cat /etc/hostname"), "web-01.example.org\n");
    EXPECT_THAT(debugfs(root, "stat /etc/localtime"), HasSubstr("../usr/share/zoneinfo/Europe/Berlin"));
    EXPECT_EQ(debugfs(root, "cat /etc/default/locale"), "LANG=C.UTF-8\n");
    std::string shadow = debugfs(root, "cat /etc/shadow");
    for (const auto& [user, password] :
         {std::pair("root", "from a file"), {"alice", "from the environment"}}) {
        std::string field = field_of(shadow, user);
        EXPECT_EQ(::crypt(password, field.c_str()), field) << user;
    }
    EXPECT_THAT(debugfs(root, "stat /etc/shadow"), HasSubstr("Mode:  0640"));
    EXPECT_EQ(debugfs(root, "cat /home/alice/.ssh/authorized_keys"), "ssh-ed25519 AAAA test\n");
    EXPECT_THAT(debugfs(root, "stat /home/alice/.ssh"), HasSubstr("Mode:  0700"));
    EXPECT_THAT(debugfs(root, "stat /home/alice/.ssh/authorized_keys"), HasSubstr("User:  1000"));
    EXPECT_THAT(debugfs(root, "stat /ran"), HasSubstr("Type: regular"));
    EXPECT_EQ(debugfs(root, "cat /etc/three"), "line\n2\n");
    EXPECT_THAT(debugfs(root, "stat /etc/three"), HasSubstr("Mode:  0640"));
    EXPECT_THAT(debugfs(root, "stat /etc/l2"), HasSubstr("\"/etc/one\""));
    EXPECT_THAT(debugfs(root, "ls -p /etc/cron.d"), Not(HasSubstr("e2scrub")));
    EXPECT_THAT(debugfs(root, "ls -p /usr/lib/libinspect/firstboot/scripts"), HasSubstr("/0002-command/"));
    EXPECT_THAT(debugfs(root, "stat /etc/rc2.d/S99libinspect-firstboot"), HasSubstr("Type: symlink"));
    EXPECT_THAT(debugfs(root, "ls -p /"), Not(HasSubstr("insp-customize-script")));
    EXPECT_THAT(debugfs(root, "ls -p /"), Not(HasSubstr("autorelabel"))) << "this guest has no SELinux";
}

TEST_F(Customize, RandomAndLockedPasswords) {
    std::string image = copy_of("debian12-small");
    Outcome done = customize(image, {"-q", "--root-password", "random", "--password-crypto", "sha512"});
    ASSERT_TRUE(done.ok()) << done.describe();
    ASSERT_TRUE(done.out.starts_with("root: ")) << done.out;
    std::string password = done.out.substr(6, done.out.find('\n') - 6);
    std::string field = field_of(debugfs(root_of(image), "cat /etc/shadow"), "root");
    EXPECT_TRUE(field.starts_with("$6$"));
    EXPECT_EQ(::crypt(password.c_str(), field.c_str()), field);
    ASSERT_TRUE(customize(image, {"-q", "--root-password", "locked"}).ok());
    EXPECT_EQ(field_of(debugfs(root_of(image), "cat /etc/shadow"), "root"), "!" + field);
    ASSERT_TRUE(customize(image, {"-q", "--root-password", "disabled"}).ok());
    EXPECT_EQ(field_of(debugfs(root_of(image), "cat /etc/shadow"), "root"), "*");
}

// All of it or nothing.
TEST_F(Customize, OneFailureAndNothingIsDone) {
    std::string image = copy_of("debian12-small");
    Outcome failed = customize(image, {"-q", "--hostname", "new", "--run-command", "exit 3"});
    EXPECT_TRUE(refused(failed, kFailed, "exit code 3"));
    EXPECT_TRUE(same_bytes(image, guest("debian12-small")));
    EXPECT_TRUE(refused(customize(image, {"-q", "--timezone", "Moon/Base"}), kFailed, "Moon/Base"));
    EXPECT_TRUE(refused(customize(image, {"-q", "--password", "nobody2:random"}), kFailed, "no such user"));
    EXPECT_TRUE(
        refused(customize(image, {"-q", "--ssh-inject", "nobody2:string:x"}), kFailed, "no such user"));
    Outcome plain = customize(image, {"--root-password", "password:x"});
    EXPECT_EQ(plain.code, kUsage);
    EXPECT_THAT(plain.err, HasSubstr("can be read by everybody"));
    EXPECT_EQ(customize(image, {}).code, kUsage);
    EXPECT_EQ(customize(image, {"--hostname", "a b"}).code, kUsage);
    EXPECT_TRUE(same_bytes(image, guest("debian12-small")));
}

}  // namespace
}  // namespace inspect::test
