// SPDX-License-Identifier: GPL-2.0-or-later
//
// insp customize on a Debian, judged by debugfs, e2fsck and crypt(3).
#include <crypt.h>

#include <regex>
#include <sstream>

#include "support/insp.h"

namespace inspect::test {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using ::testing::Not;

class Customize : public ApplianceTest {
  protected:
    // A real guest, small; its root file system is the image's second partition.
    Outcome customize(const std::string& image, Args args) const {
        args.insert(args.begin(), {"customize", "-a", image});
        return insp(args, {.env = {{"NEW_PASSWORD", "from the environment"}}});
    }
    std::string root_of(const std::string& image) const { return cut_out(image, 2); }
};

TEST_F(Customize, ARealGuest) {
    std::string image = copy_of("debian12-small");
    write_host_file(scratch() / "script", "echo \"as $(id -u)\"; touch /ran ~/here\n");
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
                                     "--mkdir",
                                     "/etc/tree/deep",
                                     "--write",
                                     "/etc/tree/deep/file:below",
                                     "--chown",
                                     "3:4:/etc/tree/deep/file",
                                     "--copy",
                                     "/etc/tree:/etc/tree2",
                                     "--write",
                                     "/etc/dos:one\r\ntwo",
                                     "--append-line",
                                     "/etc/dos:three",
                                     "--run",
                                     "/usr/bin/env",
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
    for (const auto& [user, password] :
         {std::pair("root", "from a file"), {"alice", "from the environment"}}) {
        std::string field = password_field(root, user);
        EXPECT_EQ(::crypt(password, field.c_str()), field) << user;
    }
    EXPECT_THAT(debugfs(root, "stat /etc/shadow"), HasSubstr("Mode:  0640"));
    EXPECT_EQ(debugfs(root, "cat /home/alice/.ssh/authorized_keys"), "ssh-ed25519 AAAA test\n");
    EXPECT_THAT(debugfs(root, "stat /home/alice/.ssh"), HasSubstr("Mode:  0700"));
    EXPECT_THAT(debugfs(root, "stat /home/alice/.ssh/authorized_keys"), HasSubstr("User:  1000"));
    EXPECT_THAT(debugfs(root, "stat /ran"), HasSubstr("Type: regular"));
    EXPECT_THAT(debugfs(root, "stat /root/here"), HasSubstr("Type: regular"));
    EXPECT_EQ(debugfs(root, "cat /etc/three"), "line\n2\n");
    EXPECT_EQ(debugfs(root, "cat /etc/tree2/deep/file"), "below");
    EXPECT_THAT(debugfs(root, "stat /etc/tree2/deep/file"), HasSubstr("User:     3   Group:     4"));
    EXPECT_EQ(debugfs(root, "cat /etc/dos"), "one\r\ntwo\r\nthree\r\n");
    EXPECT_THAT(done.err, HasSubstr("PATH=")) << "a program in machine code is run as it is";
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
    std::string field = password_field(root_of(image), "root");
    EXPECT_TRUE(field.starts_with("$6$"));
    EXPECT_EQ(::crypt(password.c_str(), field.c_str()), field);
    ASSERT_TRUE(customize(image, {"-q", "--root-password", "locked"}).ok());
    EXPECT_EQ(password_field(root_of(image), "root"), "!" + field);
    ASSERT_TRUE(customize(image, {"-q", "--root-password", "disabled"}).ok());
    EXPECT_EQ(password_field(root_of(image), "root"), "*");
    Outcome as_json = customize(image, {"-q", "--root-password", "random", "--json"});
    const auto answer = nlohmann::json::parse(as_json.out, nullptr, false);
    ASSERT_FALSE(answer.is_discarded()) << as_json.describe();
    EXPECT_EQ(answer.at("dry_run"), false);
    EXPECT_FALSE(answer.at("customize").empty());
    EXPECT_EQ(answer.at("passwords").at(0).at("user"), "root");
    password = answer.at("passwords").at(0).at("password");
    field = password_field(root_of(image), "root");
    EXPECT_EQ(::crypt(password.c_str(), field.c_str()), field);
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

TEST_F(Customize, ADryRunChangesNothing) {
    std::string image = copy_of("debian12-small");
    Outcome done =
        customize(image, {"--dry-run", "--run-command", "echo it runs", "--root-password", "random"});
    ASSERT_TRUE(done.ok()) << done.describe();
    EXPECT_THAT(done.err, HasSubstr("it runs\n"));
    EXPECT_EQ(done.out, "") << "no password that isn't there";
    EXPECT_TRUE(same_bytes(image, guest("debian12-small")));
}

TEST_F(Customize, AttachedImagesAreFurtherDisks) {
    std::string image = copy_of("debian12-small");
    write_host_file(scratch() / "attached", std::string(4096, 'x'));
    const std::string command = "head -c 3 /dev/sdb; echo lost >/dev/sdb";
    Outcome done = customize(
        image, {"--attach", scratch() / "attached", "--attach-format", "raw", "--run-command", command});
    ASSERT_TRUE(done.ok()) << done.describe();
    EXPECT_THAT(done.err, HasSubstr("xxx"));
    EXPECT_EQ(read_host_file(scratch() / "attached"), std::string(4096, 'x'));
}

TEST_F(Customize, ScrubbedFilesLeaveNothing) {
    std::string image = copy_of("debian12-small");
    std::string secret;
    for (int i = 0; i < 5000; ++i) secret += "a secret that can be found ";
    write_host_file(scratch() / "secret", secret);
    ASSERT_TRUE(customize(image, {"-q", "--upload", (scratch() / "secret").string() + ":/root/secret"}).ok());
    ASSERT_TRUE(run({"grep", "-q", "a secret that can be found", image}).ok()) << "a raw image shows it";
    Outcome done = customize(image, {"-q", "--scrub", "/root/secret"});
    ASSERT_TRUE(done.ok()) << done.describe();
    EXPECT_FALSE(run({"grep", "-q", "a secret that can be found", image}).ok());
    std::string root = root_of(image);
    EXPECT_TRUE(ext_is_clean(root));
    EXPECT_THAT(debugfs(root, "ls -p /root"), Not(HasSubstr("secret")));
    EXPECT_TRUE(refused(customize(image, {"-q", "--scrub", "/etc"}), kFailed, "it is a directory"));
}

// With a policy of a few lines.
TEST_F(Customize, SelinuxLabels) {
    std::string image = copy_of("debian12-small");
    write_host_file(scratch() / "contexts",
                    "/.*\tsystem_u:object_r:default_t:s0\n"
                    "/etc(/.*)?\tsystem_u:object_r:etc_t:s0\n"
                    "/etc/hostname\t--\tsystem_u:object_r:hostname_etc_t:s0\n"
                    "/proc(/.*)?\t<<none>>\n");
    const std::string files = "/etc/selinux/targeted/contexts/files";
    Outcome done =
        customize(image, {"--selinux-relabel", "--mkdir", files, "--upload",
                          (scratch() / "contexts").string() + ":" + files + "/file_contexts", "--write",
                          "/etc/selinux/config:SELINUX=enforcing\nSELINUXTYPE=targeted\n", "--write",
                          "/etc/new:x", "--touch", "/.autorelabel"});
    ASSERT_TRUE(done.ok()) << done.describe();
    std::string root = root_of(image);
    EXPECT_TRUE(ext_is_clean(root));
    const auto label = [&](const std::string& path) {
        return debugfs(root, "ea_get " + path + " security.selinux");
    };
    EXPECT_THAT(label("/etc/hostname"), HasSubstr("hostname_etc_t"));
    EXPECT_THAT(label("/etc/new"), HasSubstr("system_u:object_r:etc_t:s0"))
        << "though it came after the option";
    EXPECT_THAT(label("/usr/bin"), HasSubstr("default_t"));
    EXPECT_THAT(label("/proc"), Not(HasSubstr("_t:s0")));
    EXPECT_THAT(debugfs(root, "ls -p /"), Not(HasSubstr("autorelabel"))) << "it isn't needed any more";
    // Without the policy's files the guest has to do it.
    done = customize(image, {"--delete", files, "--selinux-relabel"});
    ASSERT_TRUE(done.ok()) << done.describe();
    EXPECT_THAT(done.err, HasSubstr("at its next boot"));
    EXPECT_THAT(debugfs(root_of(image), "ls -p /"), HasSubstr("autorelabel"));
}

// Read by the appliance's kernel, whose driver knows nothing of who made it.
TEST_F(Customize, ACloudInitSeedAsAnImage) {
    if (!have_program("xorrisofs")) GTEST_SKIP() << "no xorrisofs here";
    write_host_file(scratch() / "user", "#cloud-config\nhostname: seeded\n");
    const std::string seed = scratch() / "seed.iso", user = (scratch() / "user").string() + ":user-data";
    std::string image = copy_of("debian12-small");
    Outcome done = customize(image, {"--hostname", "web-01", "--cloud-init", user, "--cloud-init-iso", seed});
    ASSERT_TRUE(done.ok()) << done.describe();
    EXPECT_EQ(run({"blkid", "-p", "-o", "value", "-s", "LABEL", "-s", "TYPE", seed}).out,
              "CIDATA\niso9660\n");
    const auto in_seed = [&](const std::string& name) {
        return insp_ok({"cat", "-a", seed, "-m", "/dev/sda", "/" + name});
    };
    EXPECT_EQ(in_seed("user-data"), "#cloud-config\nhostname: seeded\n");
    EXPECT_THAT(in_seed("meta-data"), HasSubstr("local-hostname: \"web-01\"\n"));
    EXPECT_THAT(debugfs(root_of(image), "ls -p /var/lib"), Not(HasSubstr("cloud")));
    // Alone, without a guest; never over what is there, and not when the guest fails.
    EXPECT_TRUE(refused(insp({"customize", "--cloud-init", user, "--cloud-init-iso", seed}), kFailed,
                        "is there already"));
    EXPECT_TRUE(insp({"customize", "--cloud-init", user, "--cloud-init-iso", scratch() / "alone.iso"}).ok());
    EXPECT_FALSE(
        customize(image, {"-q", "--run-command", "false", "--cloud-init-iso", scratch() / "not.iso"}).ok());
    EXPECT_FALSE(fs::exists(scratch() / "not.iso"));
    EXPECT_EQ(insp({"customize", "--cloud-init", user, "--cloud-init", user, "--cloud-init-iso", "x"}).code,
              kUsage);
}

// Each option of virt-customize and virt-sysprep is here under its name, or in the manuals' lists of those
// that are not.
TEST_F(Customize, OptionsOfTheVirtTools) {
    if (!have_program("virt-customize")) GTEST_SKIP() << "no virt-customize here";
    // The lines that name them.
    std::string missing;
    for (const std::string command : {"customize", "sysprep"}) {
        const std::string manual = read_host_file(INSP_SOURCE_DIR "/man/insp-" + command + ".1.scd");
        std::istringstream section(manual.substr(manual.find("# OPTIONS OF VIRT-")));
        for (std::string line; std::getline(section, line);)
            if (line.starts_with("\\--")) missing += line + "\n";
        const std::string theirs = run({"virt-" + command, "--help"}).out;
        const std::regex word("--[a-z][a-z-]*");
        int count = 0;
        for (std::sregex_iterator at(theirs.begin(), theirs.end(), word), end; at != end; ++at, ++count) {
            const std::string option = at->str();
            if (option == "--options") continue;  // of the line that shows its usage
            const std::regex whole(option + "(?![a-z-])");
            const bool ours = insp({command, option}).err.find("unknown option") == std::string::npos;
            EXPECT_NE(ours, std::regex_search(missing, whole)) << command << " " << option;
        }
        EXPECT_GT(count, 40);
    }
}

}  // namespace
}  // namespace inspect::test
