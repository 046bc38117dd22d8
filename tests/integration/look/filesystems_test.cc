// SPDX-License-Identifier: GPL-2.0-or-later
//
// insp filesystems and the ways in to a file: every file system, partition table and sector size that is
// supported, and the names of devices.
#include <sys/stat.h>

#include "support/insp.h"

namespace inspect::test {
namespace {

using nlohmann::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class Filesystems : public ApplianceTest {
  protected:
    // The entry of a device in the report of insp filesystems --json.
    static json of(const json& report, const std::string& device) {
        for (const json& entry : report.at("filesystems")) {
            if (entry.at("device") == device) return entry;
        }
        ADD_FAILURE() << device << " is not in " << report.dump(1);
        return json::object();
    }
};

TEST_F(Filesystems, WholeDisks) {
    json report = insp_json({"filesystems", "--json", "-a", guest("ext2"), "-a", guest("ext3"), "-a",
                             guest("ext4"), "-a", guest("xfs"), "-a", guest("vfat")});
    struct Expected {
        const char *device, *type, *label, *uuid;
    };
    for (const Expected& expected :
         {Expected{"/dev/sda", "ext2", "e2", "00000001-0001-4001-8001-000000000001"},
          Expected{"/dev/sdb", "ext3", "e3", "00000002-0002-4002-8002-000000000002"},
          Expected{"/dev/sdc", "ext4", "e4", "00000003-0003-4003-8003-000000000003"},
          Expected{"/dev/sdd", "xfs", "xlabel", "00000004-0004-4004-8004-000000000004"},
          Expected{"/dev/sde", "vfat", "FATLABEL", "1234-ABCD"}}) {
        json fs = of(report, expected.device);
        EXPECT_EQ(fs.value("type", ""), expected.type);
        EXPECT_EQ(fs.value("label", ""), expected.label);
        EXPECT_EQ(fs.value("uuid", ""), expected.uuid);
        EXPECT_EQ(fs.value("mountable", false), true);
        EXPECT_EQ(fs.value("whole_disk", false), true);
    }
    EXPECT_EQ(of(report, "/dev/sda").value("size_bytes", 0), 8 << 20);
    EXPECT_EQ(report.at("disks").size(), 5U);
}

TEST_F(Filesystems, PartitionTables) {
    json report = insp_json({"filesystems", "--json", "-a", guest("mbr"), "-a", guest("gpt"),
                             "--blocksize=4096", "-a", guest("gpt-4k")});
    const json& disks = report.at("disks");
    EXPECT_EQ(disks.at(0).at("partition_table"), "dos");
    EXPECT_EQ(disks.at(1).at("partition_table"), "gpt");
    EXPECT_EQ(disks.at(1).at("sector_size"), 512);
    EXPECT_EQ(disks.at(2).at("partition_table"), "gpt");
    EXPECT_EQ(disks.at(2).at("sector_size"), 4096);

    json logical = of(report, "/dev/sda5");
    EXPECT_EQ(logical.value("type", ""), "ext2");
    EXPECT_EQ(logical.at("partition").at("parent"), "/dev/sda");
    EXPECT_EQ(logical.at("partition").at("number"), 5);
    EXPECT_EQ(logical.at("partition").at("type"), "0x83");
    EXPECT_EQ(logical.at("partition").at("uuid"), "feedbeef-05");
    EXPECT_EQ(of(report, "/dev/sda6").value("label", ""), "DOSFAT");

    json first = of(report, "/dev/sdb1");
    EXPECT_EQ(first.value("type", ""), "ext4");
    EXPECT_EQ(first.at("partition").at("label"), "first \u00fc");
    EXPECT_EQ(first.at("partition").at("uuid"), "00000021-0021-4021-8021-000000000021");
    EXPECT_EQ(of(report, "/dev/sdb3").value("type", ""), "swap");
    EXPECT_EQ(of(report, "/dev/sdb3").value("mountable", true), false);
    EXPECT_EQ(of(report, "/dev/sdb5").value("type", ""), "xfs");
    EXPECT_FALSE(of(report, "/dev/sdb6").contains("type"));

    EXPECT_EQ(of(report, "/dev/sdc1").value("label", ""), "four-k");
    EXPECT_EQ(of(report, "/dev/sdc2").value("label", ""), "FOURK");
}

TEST_F(Filesystems, ForPeople) {
    // As virt-filesystems without an option: what can be mounted, a line each.
    EXPECT_EQ(insp_ok({"filesystems", "-a", guest("mbr")}), "/dev/sda1\n/dev/sda5\n/dev/sda6\n");
    std::string all = insp_ok({"filesystems", "--all", "--long", "--uuid", "-h", "-a", guest("gpt")});
    for (const char* text :
         {"/dev/sda1", "ext4", "gpt-ext4", "/dev/sda3", "swap", "/dev/sda6", "/dev/sda ", "8.0M"}) {
        EXPECT_THAT(all, HasSubstr(text));
    }
    EXPECT_THAT(insp_ok({"filesystems", "--long", "--csv", "-a", guest("gpt")}),
                HasSubstr("/dev/sda1,filesystem,ext4,"));
}

// Each file system is read from, all mounted in one tree, with what the kernel wants to know said in four
// different ways.
TEST_F(Filesystems, EachIsReadable) {
    Outcome outcome = insp({"cat",
                            "-a",
                            guest("ext2"),
                            "-a",
                            guest("ext3"),
                            "-a",
                            guest("ext4"),
                            "-a",
                            guest("xfs"),
                            "-a",
                            guest("vfat"),
                            "-m",
                            "/dev/sda",
                            "-m",
                            "/dev/vdb:/dir",
                            "-m",
                            "/dev/hdc:/dir/dir:noatime",
                            "-m",
                            "/dev/sdd:/dir/dir/dir::xfs",
                            "-m",
                            "/dev/sde:/dir/dir/dir/dir",
                            "/hello.txt",
                            "/dir/hello.txt",
                            "/dir/dir/hello.txt",
                            "/dir/dir/dir/hello.txt",
                            "/dir/dir/dir/dir/hello.txt",
                            "/dir/dir/dir/dir/dir/sub/deep.txt"});
    ASSERT_TRUE(outcome.ok()) << outcome.describe();
    EXPECT_EQ(outcome.out, "hello, guest\nhello, guest\nhello, guest\nhello, guest\nhello, guest\ndeep\n");
}

TEST_F(Filesystems, PartitionsAreReadable) {
    std::string five_numbers = debugfs(cut_out(guest("mbr"), 5), "cat /numbers");
    EXPECT_EQ(insp_ok({"cat", "-a", guest("mbr"), "-m", "/dev/sda5", "/numbers"}), five_numbers);
    EXPECT_EQ(insp_ok({"cat", "-a", guest("gpt"), "--blocksize=4096", "-a", guest("gpt-4k"), "-m",
                       "/dev/sda5", "-m", "/dev/sdb1:/dir", "-m", "/dev/sdb2:/dir/dir", "/numbers",
                       "/dir/numbers", "/dir/dir/numbers"}),
              five_numbers + five_numbers + five_numbers);
}

// Reading leaves every byte and the time stamp of the image as they were, though a file system would like to
// count its mounts, and access times to be updated.
TEST_F(Filesystems, ReadingChangesNothing) {
    for (const char* name : {"ext4-dirty", "xfs-dirty", "fake-debian"}) {
        std::string image = copy_of(name);
        std::string before = sha256(image);
        struct stat old_status, new_status;
        ASSERT_EQ(stat(image.c_str(), &old_status), 0);
        std::vector<std::string> names = files();
        if (std::string(name) == "fake-debian") {
            insp_ok({"ls", "-lR", "-a", image, "/"});
        } else {
            insp_ok({"ls", "-lR", "-a", image, "-m", "/dev/sda", "/"});
        }
        EXPECT_EQ(sha256(image), before) << name;
        ASSERT_EQ(stat(image.c_str(), &new_status), 0);
        EXPECT_EQ(new_status.st_mtim.tv_nsec, old_status.st_mtim.tv_nsec) << name;
        EXPECT_EQ(files(), names);
    }
}

// What a machine without power left in the journal counts, although the image may not be changed.
TEST_F(Filesystems, JournalsAreReplayedForReaders) {
    EXPECT_EQ(insp_ok({"cat", "-a", guest("ext4-dirty"), "-m", "/dev/sda", "/state.txt"}), "replayed\n");
    EXPECT_EQ(insp_ok({"cat", "-a", guest("xfs-dirty"), "-m", "/dev/sda", "/after--replay"}), "renamed\n");
}

TEST_F(Filesystems, JournalsAreReplayedForWriters) {
    std::string ext = copy_of("ext4-dirty"), xfs = copy_of("xfs-dirty");
    insp_ok({"write", "-a", ext, "-a", xfs, "-m", "/dev/sda", "/new"}, {.input = "written"});
    EXPECT_TRUE(ext_is_clean(ext));
    EXPECT_EQ(debugfs(ext, "cat /state.txt"), "replayed\n");
    EXPECT_EQ(debugfs(ext, "cat /new"), "written");
    EXPECT_TRUE(same_bytes(xfs, guest("xfs-dirty"))) << "nothing was written to the second disk";
    insp_ok({"mv", "-a", xfs, "-m", "/dev/sda", "/after--replay", "/moved"});
    EXPECT_TRUE(xfs_is_clean(xfs));
}

}  // namespace
}  // namespace inspect::test
