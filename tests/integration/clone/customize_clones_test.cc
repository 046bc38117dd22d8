// SPDX-License-Identifier: GPL-2.0-or-later
//
// The options of customize on `insp clone` and `insp sysprep`: what they do there, and in what order.
// debugfs, e2fsck and crypt(3) are the judges.
#include <crypt.h>

#include <filesystem>
#include <sstream>

#include "support/insp.h"

namespace inspect::test {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

class CustomizeClones : public ApplianceTest {
  protected:
    std::string root_of(const std::string& image) const { return cut_out(image, 2); }
    static void expect_password(const std::string& root, const std::string& user,
                                const std::string& password) {
        const std::string field = password_field(root, user);
        EXPECT_EQ(::crypt(password.c_str(), field.c_str()), field) << user;
    }
};

TEST_F(CustomizeClones, EachCloneGetsThem) {
    const std::string source = guest("debian12-small");
    const std::string vms = scratch() / "vms";
    fs::create_directory(vms);
    write_host_file(scratch() / "script", "echo \"in $(cat /etc/hostname)\" | tee /ran\n");
    write_host_file(scratch() / "key.pub", "ssh-ed25519 AAAA test\n");
    write_host_file(scratch() / "user", "#cloud-config\n");
    write_host_file(scratch() / "commands", "add-user alice\npassword alice:password:from a file\n");
    const Outcome made = insp({"clone",
                               "--json",
                               "--format=raw",
                               "-a",
                               source,
                               "-o",
                               vms,
                               "--count",
                               "2",
                               "--name-pattern",
                               "web-%d",
                               "--sysprep",
                               "--hostname=web-%d.example.org",
                               "--root-password",
                               "random",
                               "--commands-from-file",
                               scratch() / "commands",
                               "--ssh-inject",
                               "root:file:" + (scratch() / "key.pub").string(),
                               "--run",
                               scratch() / "script",
                               "--cloud-init",
                               (scratch() / "user").string() + ":user-data",
                               "--firstboot-command",
                               "echo hello",
                               "--upload",
                               (scratch() / "script").string() + ":/root/script"});
    ASSERT_TRUE(made.ok()) << made.describe();
    std::vector<json> clones;
    std::istringstream lines(made.out);
    for (std::string line; std::getline(lines, line);) clones.push_back(json::parse(line));
    ASSERT_EQ(clones.size(), 2U);
    std::vector<std::string> instances, passwords;
    for (const int number : {1, 2}) {
        const json& clone = clones[static_cast<size_t>(number) - 1];
        const std::string name = "web-" + std::to_string(number), host = name + ".example.org";
        const std::string root = root_of(vms + "/" + name + ".img");
        EXPECT_TRUE(ext_is_clean(root));
        EXPECT_EQ(debugfs(root, "cat /etc/hostname"), host + "\n");
        EXPECT_THAT(debugfs(root, "cat /etc/hosts"), AllOf(HasSubstr(host), Not(HasSubstr("quickstart"))));
        EXPECT_EQ(debugfs(root, "cat /ran"), "in " + host + "\n") << "the script came after --hostname";
        EXPECT_THAT(made.err, HasSubstr(name + ": Setting the host name: " + host + "\n"));
        EXPECT_THAT(made.err, HasSubstr("in " + host + "\n"));
        EXPECT_EQ(debugfs(root, "cat /root/script"), read_host_file(scratch() / "script"));
        // Sysprep removes such directories; customize comes after it.
        EXPECT_EQ(debugfs(root, "cat /root/.ssh/authorized_keys"), "ssh-ed25519 AAAA test\n");
        EXPECT_THAT(debugfs(root, "ls -p /usr/lib/libinspect/firstboot/scripts"),
                    HasSubstr("/0001-command/"));
        EXPECT_THAT(debugfs(root, "ls -p /var/log"), Not(HasSubstr("wtmp"))) << "sysprep was there";
        expect_password(root, "alice", "from a file");
        ASSERT_EQ(clone["passwords"].size(), 1U);
        EXPECT_EQ(clone["passwords"][0]["user"], "root");
        passwords.push_back(clone["passwords"][0]["password"]);
        expect_password(root, "root", passwords.back());
        instances.push_back(debugfs(root, "cat /var/lib/cloud/seed/nocloud/meta-data"));
        EXPECT_THAT(instances.back(), AllOf(HasSubstr("instance-id: "), Not(HasSubstr("local-hostname"))));
        EXPECT_EQ(debugfs(root, "cat /var/lib/cloud/seed/nocloud/user-data"), "#cloud-config\n");
    }
    EXPECT_NE(passwords[0], passwords[1]);
    EXPECT_NE(instances[0], instances[1]);
    EXPECT_THAT(made.err, Not(HasSubstr("from a file")));
    EXPECT_THAT(made.err, Not(HasSubstr(passwords[0])));
}

// Without --sysprep, and for people: each password once, with the clone's name. Nothing else is changed.
TEST_F(CustomizeClones, WithoutSysprep) {
    const std::string source = guest("debian12-small"), clone = scratch() / "one.img";
    const Outcome made = insp({"clone", "-q", "--format=raw", "-a", source, "-o", clone, "--name", "db",
                               "--hostname", "--root-password", "random", "--write", "/etc/one:x"});
    ASSERT_TRUE(made.ok()) << made.describe();
    ASSERT_TRUE(made.out.starts_with("db: root: ")) << made.out;
    EXPECT_EQ(std::count(made.out.begin(), made.out.end(), '\n'), 1);
    const std::string root = root_of(clone);
    expect_password(root, "root", made.out.substr(10, made.out.find('\n') - 10));
    EXPECT_EQ(debugfs(root, "cat /etc/hostname"), "db\n");
    EXPECT_EQ(debugfs(root, "cat /etc/one"), "x");
    EXPECT_THAT(debugfs(root, "ls -p /var/log"), HasSubstr("wtmp")) << "that is sysprep's";
}

TEST_F(CustomizeClones, AFailureLeavesNoClone) {
    const std::string source = guest("debian12-small");
    fs::create_directory(scratch() / "vms");
    const auto before = files();
    const auto refuses = [&](const Args& more, int code, const std::string& text) {
        Args args = {"clone", "-q", "--format=raw", "-a", source, "-o", scratch() / "vms", "--count", "2"};
        args.insert(args.end(), more.begin(), more.end());
        EXPECT_TRUE(refused(insp(args), code, text));
        EXPECT_TRUE(fs::is_empty(scratch() / "vms"));
        EXPECT_EQ(files(), before);
    };
    refuses({"--hostname=same"}, kUsage, "--hostname: the name pattern 'same' makes equal names");
    refuses({"--hostname=a_b%d"}, kUsage, "not a host name");
    refuses({"--hostname", "web"}, kUsage, "wants a '='");
    refuses({"--root-password", "password:x"}, kUsage, "can be read by everybody");
    refuses({"--cloud-init", "/dev/null:meta-data"}, kUsage, "one instance-id");
    refuses({"--cloud-init-iso", "--cloud-init", "/dev/null:meta-data"}, kUsage, "one instance-id");
    refuses({"--run", "/no/such/script"}, kFailed, "/no/such/script");
    refuses({"--timezone", "../x"}, kUsage, "time zone");
    refuses({"--sysprep", "--operations", "utmp", "--hostname"}, kUsage, "the operation 'customize'");
    refuses({"--operations", "utmp"}, kUsage, "--sysprep");
    // Found out in the first clone, in the guest itself.
    refuses({"--run-command", "exit 3"}, kFailed, "exit code 3");
}

TEST_F(CustomizeClones, SysprepHasThemToo) {
    const std::string image = copy_of("debian12-small");
    write_host_file(scratch() / "key.pub", "ssh-ed25519 AAAA test\n");
    write_host_file(scratch() / "attached", std::string(4096, 'x'));
    const Args args = {"sysprep",
                       "--json",
                       "-a",
                       image,
                       "--mkdir",
                       "/root/.ssh",
                       "--ssh-inject",
                       "root:file:" + (scratch() / "key.pub").string(),
                       "--hostname",
                       "web-01",
                       "--write",
                       "/var/lib/systemd/random-seed:old",
                       "--add-user",
                       "alice",
                       "--add-user",
                       "bob:users",
                       "--attach-format",
                       "raw",
                       "--attach",
                       scratch() / "attached",
                       "--run-command",
                       "head -c 3 /dev/sdb",
                       "--root-password",
                       "random"};
    Args preview = args;
    preview.emplace_back("-n");
    Outcome shown = insp(preview);
    ASSERT_TRUE(shown.ok()) << shown.describe();
    EXPECT_TRUE(same_bytes(image, guest("debian12-small")));
    const json planned = json::parse(shown.out);
    EXPECT_THAT(planned["customize"].dump(),
                AllOf(HasSubstr("Renewing the random seed"), HasSubstr("Setting the host name: web-01")));
    EXPECT_TRUE(planned["passwords"].empty()) << "none was set";
    // What is listed as a change to a file is sysprep's alone; no file is named twice.
    EXPECT_THAT(planned["actions"].dump(), Not(HasSubstr("/etc/hostname")));

    Args with_ids = args;
    with_ids.emplace_back("--new-ids");
    const Outcome done = insp(with_ids);
    ASSERT_TRUE(done.ok()) << done.describe();
    const json did = json::parse(done.out);
    EXPECT_FALSE(did["ids"].empty());
    for (const json& id : did["ids"]) EXPECT_THAT(id["device"].get<std::string>(), Not(HasSubstr("sdb")));
    const std::string root = root_of(image);
    EXPECT_TRUE(ext_is_clean(root));
    EXPECT_THAT(done.err, AllOf(HasSubstr("Setting the host name: web-01\n"), HasSubstr("xxx")));
    EXPECT_EQ(debugfs(root, "cat /etc/hostname"), "web-01\n");
    EXPECT_EQ(debugfs(root, "cat /root/.ssh/authorized_keys"), "ssh-ed25519 AAAA test\n");
    EXPECT_EQ(read_host_file(scratch() / "attached"), std::string(4096, 'x'));
    ASSERT_EQ(did["passwords"].size(), 1U);
    expect_password(root, "root", did["passwords"][0]["password"]);

    // By default the random seed is another one, with no option at all; accounts go when that is asked for.
    EXPECT_THAT(debugfs(root, "cat /etc/group"), HasSubstr("users:x:100:bob\n"));
    const Outcome again = insp({"sysprep", "-q", "-a", image, "--operations", "defaults,user-account",
                                "--keep-user-accounts", "alice", "--password", "alice:random"});
    ASSERT_TRUE(again.ok()) << again.describe();
    const std::string after = root_of(image);
    ASSERT_TRUE(again.out.starts_with("alice: ")) << again.out;
    expect_password(after, "alice", again.out.substr(7, again.out.find('\n') - 7));
    EXPECT_TRUE(ext_is_clean(after));
    EXPECT_THAT(debugfs(after, "stat /var/lib/systemd/random-seed"), HasSubstr("Size: 512"));
    for (const char* file : {"/etc/passwd", "/etc/shadow", "/etc/group", "/etc/gshadow"})
        EXPECT_THAT(debugfs(after, std::string("cat ") + file),
                    AllOf(HasSubstr("root:"), HasSubstr("\nalice:"), Not(HasSubstr("bob"))))
            << file;
    EXPECT_THAT(debugfs(after, "ls -p /home"), AllOf(HasSubstr("/alice/"), Not(HasSubstr("/bob/"))));
    EXPECT_THAT(debugfs(after, "stat /etc/shadow"), HasSubstr("Mode:  0640"));

    EXPECT_TRUE(
        refused(insp({"sysprep", "-a", image, "--operations", "defaults,-customize", "--hostname", "x"}),
                kUsage, "the operation 'customize'"));
    EXPECT_TRUE(refused(insp({"sysprep", "-a", image, "--hostname", "a b"}), kUsage, "not a host name"));
    EXPECT_TRUE(refused(insp({"sysprep", "-a", image, "--keep-user-accounts", "x"}), kUsage,
                        "the operation 'user-account'"));
}

}  // namespace
}  // namespace inspect::test
