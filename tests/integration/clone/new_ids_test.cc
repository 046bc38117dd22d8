// SPDX-License-Identifier: GPL-2.0-or-later
//
// New identifiers for what is more than a file system on a partition, and for many clones at once. Judges:
// blkid, mdadm, cryptsetup, the file systems' checkers; and LVM in the appliance, which sees a clone beside
// its source.
#include <set>
#include <sstream>

#include "support/insp.h"

namespace inspect::test {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using ::testing::HasSubstr;
using ::testing::Not;

class NewIds : public ApplianceTest {
  protected:
    static Args with_key(Args args) {
        args.insert(args.end(), {"--key", "all:key:guest-key"});
        return args;
    }
    // A clone with new identifiers: what it says of them.
    json clone(const std::string& source, const std::string& path, const Args& more = {"--new-ids"}) const {
        Args args = {"clone", "--json", "--format=raw", "-a", source, "-o", path};
        args.insert(args.end(), more.begin(), more.end());
        return json::parse(insp_ok(args));
    }
    static const json& id(const json& made, const std::string& kind, const std::string& device) {
        static const json kNone = {{"kept", ""}, {"new", ""}};
        for (const json& one : made["ids"])
            if (one["kind"] == kind && one["device"] == device) return one;
        ADD_FAILURE() << "there is no " << kind << " of " << device;
        return kNone;
    }
    std::string said(const Args& command) const {
        const Outcome outcome = run(command, {});
        EXPECT_TRUE(outcome.ok()) << outcome.describe();
        std::string text = outcome.out;
        while (text.ends_with('\n')) text.pop_back();
        return text;
    }
    std::string uuid(const std::string& file_system) const {
        return said({"blkid", "-p", "-s", "UUID", "-o", "value", file_system});
    }
};

TEST_F(NewIds, ManyClonesEachWithItsOwn) {
    const std::string source = guest("fake-debian");
    std::set<std::string> seen;
    std::istringstream lines(insp_ok({"clone", "--json", "--format=raw", "-a", source, "-o",
                                      scratch().string(), "--count", "3", "--name-pattern", "web-%d",
                                      "--new-ids", "--sysprep", "--hostname", "--output-format", "raw"}));
    unsigned number = 0;
    for (std::string line; std::getline(lines, line);) {
        ++number;
        const json made = json::parse(line);
        for (const json& one : made["ids"]) {
            EXPECT_TRUE(seen.insert(one["new"]).second) << one;
            EXPECT_TRUE(seen.insert(one["old"]).second || number > 1) << one;
        }
        const std::string image = made["disks"][0]["path"], root = cut_out(image, 1);
        EXPECT_TRUE(ext_is_clean(root));
        EXPECT_EQ(uuid(root), id(made, "filesystem", "/dev/sda1")["new"]);
        EXPECT_THAT(debugfs(root, "cat /etc/fstab"), HasSubstr("UUID=" + uuid(root) + "\t/\text4"));
        EXPECT_EQ(debugfs(root, "cat /etc/hostname"), "web-" + std::to_string(number) + "\n");
        // What the plan that was made of the source says was changed is what was changed.
        for (const json& file : made["files"]) {
            if (file["path"] != "/etc/fstab") continue;
            for (const json& changed : file["lines"])
                EXPECT_THAT(debugfs(root, "cat /etc/fstab"),
                            HasSubstr(changed["after"].get<std::string>() + "\n"));
        }
    }
    EXPECT_EQ(number, 3U);
}

TEST_F(NewIds, EveryOtherFileSystem) {
    const struct {
        const char* guest;
        Args check;
    } kinds[] = {{"ntfs", {"ntfsfix", "-n"}},
                 {"exfat", {"fsck.exfat", "-n"}},
                 {"f2fs", {"fsck.f2fs", "--dry-run"}},
                 {"udf", {}},
                 {"btrfs", {}},
                 {"xfs-v4", {}}};
    for (const auto& kind : kinds) {
        const std::string source = guest(kind.guest), path = scratch() / kind.guest;
        const json made = clone(source, path);
        const bool whole = std::string(kind.guest) != "btrfs";
        const std::string before = uuid(whole ? source : cut_out(source, 1));
        const std::string after = whole ? path : cut_out(path, 1);
        EXPECT_NE(before, uuid(after)) << kind.guest;
        EXPECT_FALSE(uuid(after).empty());
        for (const json& one : made["ids"]) EXPECT_FALSE(one.contains("kept")) << one;
        if (kind.check.empty() || !have_program(kind.check[0])) continue;
        Args check = kind.check;
        check.push_back(after);
        EXPECT_TRUE(run(check, {}).ok()) << kind.guest << ": " << run(check, {}).describe();
    }
}

// Windows would come back to another volume than it left. What a clone may not be, isn't there.
TEST_F(NewIds, NtfsThatWindowsComesBackToIsRefused) {
    for (const char* kind : {"ntfs-dirty", "ntfs-hibernated"}) {
        const std::string source = guest(kind), path = scratch() / "clone.img";
        const Args clone = {"clone", "-q", "--format=raw", "-a", source, "-o", path};
        Args anew = clone;
        anew.push_back("--new-ids");
        EXPECT_TRUE(refused(insp(anew), kFailed, "shutdown /s")) << kind;
        EXPECT_FALSE(fs::exists(path)) << kind;
        insp_ok(clone);
        EXPECT_TRUE(same_bytes(path, source)) << kind;
        fs::remove(path);
    }
}

TEST_F(NewIds, BtrfsOnTwoDevices) {
    const std::string source = guest("btrfs-raid1"), path = scratch() / "clone.img";
    clone(source, path);
    const std::string before = uuid(cut_out(source, 1)), after = uuid(cut_out(path, 1));
    EXPECT_NE(after, before);
    EXPECT_EQ(after, uuid(cut_out(path, 2)));
    const Outcome listed = insp({"ls", "-q", "--format=raw", "-a", path, "-m", "/dev/sda1", "/"});
    EXPECT_TRUE(listed.ok()) << listed.describe();
}

TEST_F(NewIds, LuksNeedsNoKeyWhateverItsKeyDerivation) {
    if (!have_program("cryptsetup")) GTEST_SKIP() << "cryptsetup is not installed";
    const std::string source = guest("luks-argon2"), path = scratch() / "clone.img";
    const json made = clone(source, path);
    EXPECT_NE(said({"cryptsetup", "luksUUID", source}), said({"cryptsetup", "luksUUID", path}));
    EXPECT_EQ(said({"cryptsetup", "luksUUID", path}), id(made, "luks", "/dev/sda")["new"]);
    // It is unlocked as before.
    EXPECT_THAT(insp_ok(with_key({"filesystems", "--json", "--all", "-a", path})), HasSubstr("\"ext4\""));
    // That which has the root stays, because the guest couldn't unlock it; what is in it changes, with a key.
    const std::string root = guest("luks"), other = scratch() / "root.img";
    const json rooted = clone(root, other, with_key({"--new-ids"}));
    EXPECT_THAT(id(rooted, "luks", "/dev/sda2")["kept"], HasSubstr("initial RAM disk"));
    EXPECT_THAT(insp_ok(with_key({"cat", "-q", "-a", other, "/etc/fstab"})), Not(testing::IsEmpty()));
}

TEST_F(NewIds, ArraysThatTheGuestDoesNotBootFrom) {
    if (!have_program("mdadm")) GTEST_SKIP() << "mdadm is not installed";
    const std::string source = copy_of("md"), path = scratch() / "clone.img";
    const std::string home = "00000060:00000000:00000000:00000005";
    Options naming;
    naming.input = "ARRAY /dev/md/home metadata=1.2 UUID=" + home + "\n";
    insp_ok({"mkdir", "-q", "-p", "-a", source, "/etc/mdadm"});
    insp_ok({"write", "-q", "-a", source, "/etc/mdadm/mdadm.conf"}, naming);
    const json made = clone(source, path);
    EXPECT_TRUE(id(made, "array", "/dev/md0").contains("kept"));
    std::string wanted = id(made, "array", "/dev/md127")["new"];
    std::erase(wanted, '-');
    for (const size_t at : {24, 16, 8}) wanted.insert(at, ":");
    for (const unsigned member : {3U, 4U, 5U})
        EXPECT_THAT(said({"mdadm", "--examine", cut_out(path, member)}), HasSubstr("Array UUID : " + wanted));
    EXPECT_THAT(said({"mdadm", "--examine", cut_out(path, 1)}),
                HasSubstr("00000060:00000000:00000000:00000001"));
    EXPECT_THAT(insp_ok({"cat", "-q", "-a", path, "/etc/mdadm/mdadm.conf"}), HasSubstr(wanted));
    EXPECT_THAT(insp_ok({"ls", "-q", "-a", path, "/home"}), HasSubstr("alice"));
}

TEST_F(NewIds, AVolumeGroupBesideItsSource) {
    for (const char* kind : {"lvm", "lvm-on-luks"}) {
        const std::string source = guest(kind), path = scratch() / (std::string(kind) + ".img");
        const bool encrypted = std::string(kind) == "lvm-on-luks";
        const std::string group = encrypted ? "ubuntu-vg" : "debian-vg";
        const Args more = {"--new-ids", "--new-vg-names"};
        const json made = clone(source, path, encrypted ? with_key(more) : more);
        const std::string name = id(made, "group-name", group)["new"];
        EXPECT_THAT(name, testing::StartsWith(group + "_"));
        // In encryption all of LVM's identifiers but the name stay, so the two can't be told apart when both
        // are unlocked: then the clone is looked at by itself.
        Args groups = {"run", "-q", "--format=raw"};
        if (encrypted)
            groups.insert(groups.end(), {"--key", "all:key:guest-key"});
        else
            groups.insert(groups.end(), {"-a", source});
        groups.insert(groups.end(),
                      {"-a", path, "--", "lvm", "vgs", "--noheadings", "-o", "vg_name,lv_count"});
        const Outcome seen = insp(groups);
        EXPECT_TRUE(seen.ok()) << seen.describe();
        EXPECT_THAT(seen.out, HasSubstr(name + " "));
        if (!encrypted) {
            EXPECT_THAT(seen.out, HasSubstr(group + " "));
            EXPECT_THAT(seen.err, Not(HasSubstr("left out")));
        }
        Args cat = {"cat", "-q", "--format=raw", "-a", path, "/etc/fstab"};
        const std::string fstab = insp_ok(encrypted ? with_key(cat) : cat);
        EXPECT_THAT(fstab, Not(HasSubstr(group + "/")));
        EXPECT_THAT(fstab, HasSubstr("/dev/"));
        Args listing = {"ls", "-q", "--format=raw", "-a", path, "/home"};
        EXPECT_THAT(insp_ok(encrypted ? with_key(listing) : listing), HasSubstr("alice"));
    }
}

}  // namespace
}  // namespace inspect::test
