// SPDX-License-Identifier: GPL-2.0-or-later
//
// What only an appliance knows to be free is left out of a backup, and nothing else is: each guest gets
// garbage in blocks that are free again, and must be the same after it was restored, for its files and for
// its file system's checker.
#include <sys/stat.h>

#include "support/backups.h"

namespace inspect::test {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

class BackupFreeSpace : public BackupTest {
  protected:
    void SetUp() override {
        BackupTest::SetUp();
        if (!INSP_APPLIANCE_BUILT) GTEST_SKIP() << "the appliance is not built (INSP_APPLIANCE=OFF)";
    }
    Options patient() const {
        Options options = repository();
        options.timeout = std::chrono::minutes(3);
        return options;
    }
    json backed_up(const std::string& image, const Args& more = {}) const {
        Args args{"backup", "create", "--json", "--name", "guest", "--ask-appliance=always", image};
        args.insert(args.end(), more.begin(), more.end());
        return insp_json(args, patient())["backups"][0];
    }
    std::string in_appliance(const std::string& image, const std::string& script, bool writes) const {
        Args args = {"run", "-q", "-a", image, "--memory=256"};
        if (writes) args.push_back("--rw");
        args.insert(args.end(), {"--", "/bin/sh", "-ec", script});
        const Outcome outcome = insp(args, patient());
        EXPECT_TRUE(outcome.ok()) << outcome.describe();
        return outcome.out;
    }
    // Two MiB of random data in a file of each device, which is removed again.
    void make_garbage(const std::string& image, const Args& devices) const {
        std::string script;
        for (const std::string& device : devices)
            script += "mount -o nodiscard " + device + " /sysroot 2>/dev/null || mount " + device +
                      " /sysroot; dd if=/dev/urandom of=/sysroot/garbage bs=1M count=2 2>/dev/null; sync; "
                      "rm /sysroot/garbage; umount /sysroot\n";
        in_appliance(image, script, true);
    }
    // Name, mode, owner and SHA-256 of everything on these devices.
    std::string contents(const std::string& image, const Args& devices) const {
        std::string script;
        for (const std::string& device : devices)
            script += "mount -o ro " + device +
                      " /sysroot; cd /sysroot; find . -exec stat -c '%n %f %u %g %h' '{}' +; "
                      "find . -type f -exec sha256sum '{}' +; cd /; umount /sysroot\n";
        return in_appliance(image, script, false);
    }
    static uint64_t allocated(const std::string& file) {
        struct stat status = {};
        return ::stat(file.c_str(), &status) == 0 ? static_cast<uint64_t>(status.st_blocks) * 512 : 0;
    }
    // What guest.json says of the volume.
    json recorded(const std::string& device) const {
        const Outcome dumped = restic({"-q", "dump", "latest", "/guest/guest.json"});
        const json record = json::parse(dumped.out);
        for (const json& volume : record.at("volumes"))
            if (volume.at("device") == device) return volume;
        return {};
    }
    // All is backed up as it is: without what is free, it would not be the same.
    void expect_all_is_read(const std::string& guest) const {
        const std::string image = copy_of(guest);
        backed_up(image);
        EXPECT_TRUE(same_bytes(restore("guest"), image));
    }
};

struct Case {
    const char* guest;
    Args devices;
    Args checker;  // of the whole disk
};

class BackupFreeSpaceOf : public BackupFreeSpace, public ::testing::WithParamInterface<Case> {};

TEST_P(BackupFreeSpaceOf, IsLeftOut) {
    const Case& guest = GetParam();
    const std::string image = copy_of(guest.guest);
    make_garbage(image, guest.devices);
    const std::string before = contents(image, guest.devices);
    ASSERT_THAT(before, HasSubstr("  ./"));
    const json never =
        insp_json({"backup", "create", "--json", "--ask-appliance=never", image}, patient())["backups"][0];
    const json made = backed_up(image);
    EXPECT_LE(made["read"].get<uint64_t>() + kMiB, never["read"].get<uint64_t>());
    EXPECT_EQ(made["warnings"].size(), 0u) << made;
    const std::string restored = restore("guest");
    EXPECT_LT(allocated(restored), allocated(image) - kMiB);
    EXPECT_EQ(contents(restored, guest.devices), before);
    if (!guest.checker.empty() && have_program(guest.checker[0])) {
        Args check = guest.checker;
        check.push_back(restored);
        const Outcome checked = run(check);
        EXPECT_TRUE(checked.ok()) << checked.describe();
    }
    EXPECT_TRUE(sound());
}

INSTANTIATE_TEST_SUITE_P(All, BackupFreeSpaceOf,
                         ::testing::Values(Case{"xfs", {"/dev/sda"}, {"/usr/sbin/xfs_repair", "-n", "-f"}},
                                           Case{"vfat", {"/dev/sda"}, {"/usr/sbin/fsck.fat", "-n"}},
                                           Case{"exfat", {"/dev/sda"}, {"/usr/sbin/fsck.exfat", "-n"}},
                                           Case{"btrfs", {"/dev/sda1"}, {}},
                                           Case{"lvm", {"/dev/debian-vg/root"}, {}}),
                         [](const auto& one) { return std::string(one.param.guest); });

TEST_F(BackupFreeSpace, OfALogicalVolumeIsNamed) {
    if (!have_program("restic")) GTEST_SKIP() << "restic is not installed";
    backed_up(copy_of("lvm"));
    EXPECT_EQ(recorded("/dev/debian-vg/root").value("left_out", ""), "free");
    EXPECT_EQ(recorded("debian-vg").value("type", ""), "volume group");
}

TEST_F(BackupFreeSpace, OfAFileSystemThatIsDirtyIsRead) { expect_all_is_read("xfs-dirty"); }

TEST_F(BackupFreeSpace, OfNtfsIsRead) {
    expect_all_is_read("ntfs");
    if (!have_program("restic")) return;
    EXPECT_EQ(recorded("/dev/sda").value("left_out", ""), "nothing");
}

}  // namespace
}  // namespace inspect::test
