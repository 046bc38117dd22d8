// SPDX-License-Identifier: GPL-2.0-or-later
//
// insp sysprep and insp clone --new-ids --sysprep. Judges: blkid, sfdisk, debugfs, e2fsck, xfs_repair and
// virt-sysprep's own list.
#include <filesystem>
#include <map>
#include <set>
#include <sstream>

#include "support/insp.h"

namespace inspect::test {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using ::testing::HasSubstr;
using ::testing::Not;

class Sysprep : public ApplianceTest {
  protected:
    // What blkid and sfdisk say of an image: identifiers by partition number; 0 is the table's.
    std::map<unsigned, std::set<std::string>> identifiers(const std::string& image) const {
        std::map<unsigned, std::set<std::string>> result;
        const json table = json::parse(run({"sfdisk", "-J", image}).out)["partitiontable"];
        result[0] = {table["id"]};
        unsigned number = 0;
        for (const json& partition : table["partitions"]) {
            const std::string node = partition["node"];
            number = static_cast<unsigned>(std::stoul(node.substr(node.find_last_not_of("0123456789") + 1)));
            if (partition.contains("uuid")) result[number].insert(partition["uuid"].get<std::string>());
            const std::string uuid =
                run({"blkid", "-p", "-s", "UUID", "-o", "value", cut_out(image, number)}).out;
            if (!uuid.empty()) result[number].insert(uuid.substr(0, uuid.find('\n')));
        }
        return result;
    }
    void expect_all_new(const std::string& one, const std::string& other) const {
        const auto before = identifiers(one), after = identifiers(other);
        ASSERT_EQ(before.size(), after.size());
        for (const auto& [number, ids] : before) {
            EXPECT_EQ(after.at(number).size(), ids.size()) << number;
            for (const std::string& id : ids)
                EXPECT_FALSE(after.at(number).contains(id)) << number << ": " << id;
        }
    }
    void write(const std::string& image, const std::string& path, const std::string& contents) const {
        Options options;
        options.input = contents;
        insp_ok({"write", "-q", "-a", image, path}, options);
    }
};

TEST_F(Sysprep, ListsWhatVirtSysprepLists) {
    if (!have_program("virt-sysprep")) GTEST_SKIP() << "virt-sysprep is not installed (guestfs-tools)";
    std::set<std::string> ours;
    std::istringstream text(insp_ok({"sysprep", "--list-operations"}));
    for (std::string line; std::getline(text, line);)
        ours.insert(line.substr(0, line.find(" (not possible")));
    std::istringstream theirs(run({"virt-sysprep", "--list-operations"}).out);
    for (std::string line; std::getline(theirs, line);) EXPECT_TRUE(ours.contains(line)) << line;
}

TEST_F(Sysprep, NewIdentifiersForEveryKindOfFileSystem) {
    const std::string source = guest("gpt"), clone = scratch() / "clone.img";
    const Outcome cloned =
        insp({"clone", "--json", "--stats=json", "--format=raw", "-a", source, "-o", clone, "--new-ids"});
    ASSERT_TRUE(cloned.ok()) << cloned.describe();
    EXPECT_THAT(cloned.err, HasSubstr("\"engine\": \"qemu\", \"total_ns\""));
    const json made = json::parse(cloned.out);
    EXPECT_GE(made["ids"].size(), 8U);
    expect_all_new(source, clone);
    EXPECT_TRUE(ext_is_clean(cut_out(clone, 1)));
    EXPECT_TRUE(xfs_is_clean(cut_out(clone, 5)));
    EXPECT_TRUE(run({"fsck.fat", "-n", cut_out(clone, 2)}).ok());
}

TEST_F(Sysprep, WhatNamesThemIsRewritten) {
    const std::string image = copy_of("fake-debian");
    const auto before = identifiers(image);
    const std::string root = *before.at(1).begin() < *before.at(1).rbegin() &&
                                     run({"blkid", "-p", "-s", "UUID", "-o", "value", cut_out(image, 1)})
                                         .out.starts_with(*before.at(1).begin())
                                 ? *before.at(1).begin()
                                 : *before.at(1).rbegin();
    insp_ok({"mkdir", "-q", "-p", "-a", image, "/etc/default", "/boot/grub"});
    write(image, "/etc/default/grub", "GRUB_CMDLINE_LINUX=\"resume=UUID=" + root + "\"\n");
    write(image, "/boot/grub/grub.cfg",
          "search --fs-uuid " + root + "\nlinux /vmlinuz root=UUID=" + root + "\n");
    insp_ok({"chmod", "-q", "-a", image, "0640", "/etc/default/grub"});
    const std::string unchanged = sha256(image);
    const json planned =
        insp_json({"sysprep", "-q", "--json", "-n", "-a", image, "--new-ids", "--operations", "utmp"});
    EXPECT_EQ(sha256(image), unchanged);
    std::set<std::string> files;
    for (const json& file : planned["files"]) files.insert(file["path"]);
    EXPECT_THAT(files, ::testing::ElementsAre("/boot/grub/grub.cfg", "/etc/default/grub", "/etc/fstab"));

    insp_ok({"sysprep", "-q", "-a", image, "--new-ids", "--operations", "utmp"});
    const auto after = identifiers(image);
    const std::string part = cut_out(image, 1);
    EXPECT_TRUE(ext_is_clean(part));
    std::string uuid = run({"blkid", "-p", "-s", "UUID", "-o", "value", part}).out;
    uuid.pop_back();
    EXPECT_NE(uuid, root);
    const std::string fstab = debugfs(part, "cat /etc/fstab");
    EXPECT_THAT(fstab, HasSubstr("UUID=" + uuid + "\t/\text4"));
    EXPECT_THAT(fstab, Not(HasSubstr(root)));
    EXPECT_EQ(debugfs(part, "cat /etc/default/grub"), "GRUB_CMDLINE_LINUX=\"resume=UUID=" + uuid + "\"\n");
    EXPECT_THAT(debugfs(part, "stat /etc/default/grub"), HasSubstr("Mode:  0640"));
    EXPECT_EQ(debugfs(cut_out(image, 2), "cat /grub/grub.cfg"),
              "search --fs-uuid " + uuid + "\nlinux /vmlinuz root=UUID=" + uuid + "\n");
    // /home is found by its new PARTUUID.
    EXPECT_THAT(insp_ok({"ls", "-q", "-a", image, "/home"}), HasSubstr("alice"));
}

TEST_F(Sysprep, ACloneIsAGuestOfItsOwn) {
    const std::string source = copy_of("fake-debian");
    insp_ok({"mkdir", "-q", "-p", "-a", source, "/etc/ssh", "/root/.ssh", "/var/log/journal/1234",
             "/var/tmp/deep/er", "/var/spool/cron/atjobs"});
    for (const char* path :
         {"/etc/ssh/ssh_host_rsa_key", "/etc/ssh/sshd_config", "/root/.ssh/id", "/root/.bash_history",
          "/var/log/journal/1234/system.journal", "/var/log/dpkg.log", "/var/tmp/deep/er/file",
          "/var/spool/cron/atjobs/.SEQ", "/var/spool/cron/root", "/etc/passwd-", "/etc/fstab.bak"})
        write(source, path, "x\n");
    write(source, "/etc/machine-id", "0123456789abcdef0123456789abcdef\n");
    const std::string unchanged = sha256(source);
    const std::string clone = scratch() / "web-01.img";
    insp_ok(
        {"clone", "-q", "--format=raw", "-a", source, "-o", clone, "--new-ids", "--sysprep", "--hostname"});
    EXPECT_EQ(sha256(source), unchanged);
    expect_all_new(source, clone);
    const std::string root = cut_out(clone, 1);
    EXPECT_TRUE(ext_is_clean(root));
    EXPECT_EQ(debugfs(root, "cat /etc/hostname"), "web-01\n");
    EXPECT_EQ(debugfs(root, "cat /etc/machine-id"), "");
    EXPECT_THAT(debugfs(root, "stat /etc/machine-id"), HasSubstr("Type: regular"));
    for (const char* path :
         {"/etc/ssh/ssh_host_rsa_key", "/root/.ssh", "/root/.bash_history", "/var/log/journal/1234",
          "/var/log/dpkg.log", "/var/tmp/deep", "/var/spool/cron/root", "/etc/passwd-", "/etc/fstab.bak"})
        EXPECT_THAT(debugfs(root, std::string("stat ") + path), Not(HasSubstr("Type:"))) << path;
    EXPECT_EQ(debugfs(root, "cat /var/spool/cron/atjobs/.SEQ"), "00000\n");
    for (const char* path : {"/etc/ssh/sshd_config", "/var/tmp", "/var/spool/cron/atjobs/.SEQ", "/etc/fstab"})
        EXPECT_THAT(debugfs(root, std::string("stat ") + path), HasSubstr("Type:")) << path;
}

TEST_F(Sysprep, RefusesWhatMakesNoSense) {
    const std::string image = guest("fake-debian");
    EXPECT_TRUE(refused(insp({"sysprep", "-a", image, "--operations", "nonsense"}), kUsage, "nonsense"));
    EXPECT_TRUE(refused(insp({"sysprep", "-a", image, "--operations", "script"}), kFailed, "insp run"));
    EXPECT_TRUE(refused(insp({"sysprep", "-a", image, "--hostname", "a b"}), kUsage, "host name"));
    EXPECT_TRUE(refused(insp({"sysprep"}), kUsage, "no disk"));
    EXPECT_TRUE(refused(insp({"clone", "-a", image, "-o", scratch() / "x", "--operations", "utmp"}), kUsage,
                        "--sysprep"));
    // Disks without a guest are no clean guest.
    const std::string none = copy_of("ext4");
    for (const Args& args :
         {Args{"sysprep", "-q", "-a", none}, Args{"sysprep", "-q", "-a", none, "-n"},
          Args{"clone", "-q", "--format=raw", "-a", none, "-o", scratch() / "x", "--sysprep"},
          Args{"customize", "-q", "-a", none, "--touch", "/x"}})
        EXPECT_TRUE(refused(insp(args), kFailed, "no operating system was found"));
    EXPECT_FALSE(fs::exists(scratch() / "x"));
}

}  // namespace
}  // namespace inspect::test
