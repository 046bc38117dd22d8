// SPDX-License-Identifier: GPL-2.0-or-later
//
// insp format, make-fs and fsck. The judges are the host's own tools for each file system.
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>

#include "support/insp.h"

namespace inspect::test {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using ::testing::HasSubstr;
using ::testing::Not;

std::string probe(const std::string& file, const char* what) {
    std::string value = run({"/usr/sbin/blkid", "-p", "-o", "value", "-s", what, file}).out;
    while (!value.empty() && value.back() == '\n') value.pop_back();
    return value;
}

class Format : public ApplianceTest {
  protected:
    std::string empty(uint64_t size) const {
        std::string image = scratch() / "disk.img";
        write_host_file(image, "");
        fs::resize_file(image, size);
        return image;
    }
};

TEST_F(Format, MakesATableAndAFilesystem) {
    std::string image = copy_of("gpt");
    insp_ok({"format", "-a", image, "--filesystem=ext4", "--label=fresh"});
    json table = json::parse(run({"/usr/sbin/sfdisk", "--json", image}).out)["partitiontable"];
    EXPECT_EQ(table["label"], "dos");
    ASSERT_EQ(table["partitions"].size(), 1u);
    EXPECT_EQ(table["partitions"][0]["type"], "83");
    EXPECT_EQ(table["partitions"][0]["start"], 2048);
    std::string inside = cut_out(image, 1);
    EXPECT_TRUE(ext_is_clean(inside));
    EXPECT_EQ(probe(inside, "LABEL"), "fresh");
    EXPECT_EQ(probe(image, "PTTYPE"), "dos") << "the old table is gone";

    insp_ok({"format", "-a", image, "--partition=gpt", "--filesystem=vfat", "--label=DATA"});
    EXPECT_THAT(run({"/usr/sbin/sgdisk", "--verify", image}).out, HasSubstr("No problems found"));
    inside = cut_out(image, 1);
    EXPECT_EQ(probe(inside, "TYPE"), "vfat");
    EXPECT_TRUE(run({"/usr/sbin/fsck.fat", "-n", inside}).ok());

    insp_ok({"format", "-a", image, "--partition=none", "--wipe"});
    EXPECT_EQ(read_host_file(image), std::string(fs::file_size(image), '\0'));
}

TEST_F(Format, MakesALogicalVolume) {
    std::string image = empty(48 << 20);
    insp_ok({"format", "-a", image, "--lvm=/dev/data/files", "--filesystem=ext4"});
    json table = json::parse(run({"/usr/sbin/sfdisk", "--json", image}).out)["partitiontable"];
    EXPECT_EQ(table["partitions"][0]["type"], "8e");
    EXPECT_EQ(probe(cut_out(image, 1), "TYPE"), "LVM2_member");
    EXPECT_THAT(insp_ok({"filesystems", "-a", image, "-l"}), HasSubstr("/dev/data/files"));
    EXPECT_EQ(insp_ok({"fsck", "-a", image}), "/dev/data/files: ext4: clean\n");
}

TEST_F(Format, RefusesNonsense) {
    std::string image = copy_of("ext4");
    std::string before = sha256(image);
    EXPECT_TRUE(refused(insp({"format", "-a", image, "--filesystem=zfs"}), kUsage, "zfs"));
    EXPECT_TRUE(refused(insp({"format", "-a", image, "--partition=apm"}), kUsage, "apm"));
    EXPECT_TRUE(refused(insp({"format", "-a", image, "--lvm=data"}), kUsage, "/dev/VG/LV"));
    EXPECT_TRUE(refused(insp({"format", "-a", image, "--label=x"}), kUsage, "--filesystem"));
    EXPECT_TRUE(refused(insp({"format", "-a", image, "--filesystem=xfs", "--label=thirteen-byte"}), kUsage,
                        "up to 12"));
    // Too small for it: nothing was erased.
    EXPECT_TRUE(refused(insp({"format", "-a", image, "--filesystem=xfs"}), kFailed, "xfs"));
    EXPECT_EQ(sha256(image), before);
}

class MakeFs : public ApplianceTest {
  protected:
    // A directory with what a file system can hold.
    std::string files() const {
        fs::path base = scratch() / "files";
        fs::create_directories(base / "dir/sub");
        write_host_file(base / "hello", "hello\n");
        write_host_file(base / "dir/sub/big", std::string(3 << 20, 'b'));
        fs::create_hard_link(base / "hello", base / "dir/link");
        fs::create_symlink("../nowhere", base / "dir/symlink");
        fs::permissions(base / "dir", fs::perms::owner_all);
        write_host_file(base / "sparse", "start");
        fs::resize_file(base / "sparse", 200 << 20);
        std::string tag = "kept";
        has_xattr_ = ::setxattr((base / "hello").c_str(), "user.tag", tag.data(), tag.size(), 0) == 0;
        return base;
    }
    mutable bool has_xattr_ = false;
};

TEST_F(MakeFs, FromADirectory) {
    std::string input = files();
    std::string image = scratch() / "new.img";
    insp_ok({"make-fs", "--type=ext4", "--label=made", input, image});
    EXPECT_TRUE(ext_is_clean(image));
    EXPECT_EQ(probe(image, "LABEL"), "made");
    EXPECT_EQ(debugfs(image, "cat /dir/link"), "hello\n");
    EXPECT_THAT(debugfs(image, "stat /hello"), HasSubstr("Links: 2 "));
    EXPECT_THAT(debugfs(image, "stat /dir"), HasSubstr("Mode:  0700"));
    EXPECT_THAT(debugfs(image, "stat /dir/symlink"), HasSubstr("../nowhere"));
    EXPECT_EQ(debugfs(image, "cat /dir/sub/big"), std::string(3 << 20, 'b'));
    EXPECT_THAT(debugfs(image, "stat /sparse"), HasSubstr("Size: 209715200"));
    if (has_xattr_) {
        EXPECT_THAT(debugfs(image, "ea_list /hello"), HasSubstr("user.tag (4) = \"kept\""));
    }
    // By need: the hole takes no room.
    EXPECT_LT(fs::file_size(image), 24u << 20);
}

TEST_F(MakeFs, FromAnArchive) {
    std::string input = files();
    for (const std::string compressor : {"cat", "gzip", "xz", "zstd -q"}) {
        std::string archive = scratch() / "archive";
        Outcome packed = run(
            {"sh", "-c", "tar -C \"$1\" -S --owner=12:12 --group=34:34 -cf - . | " + compressor + " > \"$2\"",
             "sh", input, archive});
        ASSERT_TRUE(packed.ok()) << packed.describe();
        std::string image = scratch() / "new.qcow2";
        if (!have_program(compressor.substr(0, compressor.find(' ')))) continue;
        insp_ok({"make-fs", "-F", "qcow2", "--partition=gpt", "--size=+16M", archive, image});
        EXPECT_TRUE(run({"qemu-img", "check", "-q", image}).ok());
        std::string raw = scratch() / "new.raw";
        ASSERT_TRUE(run({"qemu-img", "convert", "-O", "raw", image, raw}).ok());
        EXPECT_THAT(run({"/usr/sbin/sgdisk", "--verify", raw}).out, HasSubstr("No problems found"));
        std::string inside = cut_out(raw, 1);
        EXPECT_TRUE(ext_is_clean(inside));
        EXPECT_EQ(probe(inside, "TYPE"), "ext2");
        EXPECT_THAT(debugfs(inside, "stat /hello"), HasSubstr("User:    12   Group:    34"));
        EXPECT_EQ(debugfs(inside, "cat /dir/link"), "hello\n");
    }
}

TEST_F(MakeFs, ForWindows) {
    std::string input = scratch() / "plain";
    fs::create_directories(input + "/dir");
    write_host_file(input + "/dir/file.txt", "hello\n");
    std::string image = scratch() / "new.img";
    insp_ok({"make-fs", "-t", "vfat", "-s", "8M", input, image});
    EXPECT_EQ(fs::file_size(image), 8u << 20);
    EXPECT_TRUE(run({"/usr/sbin/fsck.fat", "-n", image}).ok());
    EXPECT_EQ(run({"mtype", "-i", image, "::/dir/file.txt"}).out, "hello\n");
    insp_ok({"make-fs", "--floppy", input, image});
    EXPECT_EQ(fs::file_size(image), 1440u << 10);
    const json table = json::parse(run({"/usr/sbin/sfdisk", "--json", image}).out)["partitiontable"];
    EXPECT_EQ(table["label"], "dos");
    const std::string floppy = cut_out(image, 1);
    EXPECT_GT(fs::file_size(floppy), 1400u << 10);
    EXPECT_EQ(run({"mtype", "-i", floppy, "::/dir/file.txt"}).out, "hello\n");
    insp_ok({"make-fs", "-t", "ntfs", input, image});
    EXPECT_EQ(probe(image, "TYPE"), "ntfs");
    EXPECT_EQ(insp_ok({"cat", "-a", image, "-m", "/dev/sda", "/dir/file.txt"}), "hello\n");
}

// Each file system by its own tool of the host.
TEST_F(MakeFs, OfEveryKind) {
    const fs::path input = scratch() / "plain";
    fs::create_directories(input / "dir");
    write_host_file(input / "dir/file.txt", "hello\n");
    write_host_file(input / "big", std::string(3 << 20, 'b'));
    struct Kind {
        const char* type;
        Args judge;
    };
    for (const Kind& kind :
         {Kind{"xfs", {"/usr/sbin/xfs_repair", "-n"}}, Kind{"btrfs", {"btrfs", "check", "--readonly"}},
          Kind{"f2fs", {"/usr/sbin/fsck.f2fs", "--dry-run"}}, Kind{"exfat", {"/usr/sbin/fsck.exfat", "-n"}},
          Kind{"ntfs", {"ntfsfix", "-n"}}}) {
        SCOPED_TRACE(kind.type);
        const std::string image = scratch() / "new.img";
        insp_ok({"make-fs", "-t", kind.type, "--label=made", input, image});
        EXPECT_EQ(probe(image, "TYPE"), kind.type);
        EXPECT_EQ(probe(image, "LABEL"), "made");
        Args judge = kind.judge;
        judge.push_back(image);
        const Outcome judged = run(judge);
        EXPECT_TRUE(judged.ok()) << judged.describe();
        EXPECT_EQ(insp_ok({"fsck", "-a", image}), "/dev/sda: " + std::string(kind.type) + ": clean\n");
        if (std::string(kind.type) == "ntfs") {
            EXPECT_EQ(run({"ntfscat", image, "dir/file.txt"}).out, "hello\n");
        } else if (std::string(kind.type) == "btrfs") {
            const fs::path restored = scratch() / "restored";
            fs::create_directory(restored);
            EXPECT_TRUE(run({"btrfs", "restore", image, restored}).ok());
            EXPECT_EQ(read_host_file(restored / "dir/file.txt"), "hello\n");
            EXPECT_EQ(read_host_file(restored / "big"), std::string(3 << 20, 'b'));
        } else {
            EXPECT_EQ(insp_ok({"cat", "-a", image, "-m", "/dev/sda", "/dir/file.txt"}), "hello\n");
        }
    }
}

// As it would be without files: empty ones take no room but inodes, of which mke2fs makes by the size.
TEST_F(MakeFs, HasInodesForAllFiles) {
    const fs::path input = scratch() / "many";
    fs::create_directories(input);
    for (int i = 0; i < 6000; ++i) write_host_file(input / std::to_string(i), "");
    const std::string image = scratch() / "new.img";
    for (const char* size : {"--size=+1M", "--size=8M"}) {
        const Outcome made = insp({"make-fs", "-v", size, input, image});
        ASSERT_TRUE(made.ok()) << made.describe();
        EXPECT_THAT(made.err, Not(HasSubstr("once more")));
        EXPECT_TRUE(ext_is_clean(image));
        EXPECT_THAT(debugfs(image, "stat /5999"), HasSubstr("Type: regular"));
    }
}

// Each label as its tool takes it; what is too long is refused before anything is started.
TEST_F(MakeFs, LabelsAreWhole) {
    const fs::path input = scratch() / "plain";
    fs::create_directories(input);
    const std::string image = scratch() / "new.img";
    struct Kind {
        const char* type;
        size_t most;
    };
    for (const Kind& kind : {Kind{"ext2", 16}, Kind{"xfs", 12}, Kind{"btrfs", 254}, Kind{"f2fs", 512},
                             Kind{"vfat", 11}, Kind{"exfat", 11}, Kind{"ntfs", 32}}) {
        SCOPED_TRACE(kind.type);
        const std::string label(kind.most, 'L');
        EXPECT_TRUE(refused(insp({"make-fs", "-t", kind.type, "--label=" + label + "x", input, image}),
                            kUsage, "up to " + std::to_string(kind.most)));
        EXPECT_FALSE(fs::exists(image));
        const Outcome made = insp({"make-fs", "-t", kind.type, "--label=" + label, input, image});
        ASSERT_TRUE(made.ok()) << made.describe();
        const json listed = insp_json({"filesystems", "--json", "-a", image});
        EXPECT_EQ(listed["filesystems"][0]["label"], label);
        fs::remove(image);
    }
}

TEST_F(MakeFs, LeavesNothingBehindWhenItFails) {
    std::string image = scratch() / "new.img";
    const std::string input = files();
    write_host_file(image, "precious");
    write_host_file(scratch() / "text", "this is no archive\n");
    EXPECT_TRUE(refused(insp({"make-fs", scratch() / "text", image}), kFailed, "no tar archive"));
    EXPECT_TRUE(refused(insp({"make-fs", "-s", "1M", input, image}), kFailed, "no space left"));
    EXPECT_TRUE(refused(insp({"make-fs", scratch() / "missing", image}), kFailed, "missing"));
    EXPECT_TRUE(refused(insp({"make-fs", "-t", "iso9660", input, image}), kUsage, "iso9660"));
    EXPECT_EQ(read_host_file(image), "precious");
    for (const auto& entry : fs::directory_iterator(scratch()))
        EXPECT_EQ(entry.path().filename().string().find(".insp-"), std::string::npos);
}

class Fsck : public ApplianceTest {};

TEST_F(Fsck, ReportsEachFilesystem) {
    EXPECT_EQ(insp_ok({"fsck", "-a", guest("gpt")}),
              "/dev/sda1: ext4: clean\n/dev/sda2: vfat: clean\n/dev/sda5: xfs: clean\n");
    // A journal that waits is no damage.
    EXPECT_EQ(insp_ok({"fsck", "-a", guest("ext4-dirty")}), "/dev/sda: ext4: clean\n");
    EXPECT_EQ(insp_ok({"fsck", "-a", guest("xfs-dirty")}), "/dev/sda: xfs: clean\n");
    // What ntfsfix calls sound and Windows wants to look at.
    EXPECT_EQ(insp_ok({"fsck", "-a", guest("ntfs")}), "/dev/sda: ntfs: clean\n");
    const Outcome dirty = insp({"fsck", "-a", guest("ntfs-dirty")});
    EXPECT_EQ(dirty.code, 4);
    EXPECT_THAT(dirty.out, HasSubstr("ntfs: damaged"));
    EXPECT_THAT(dirty.out, HasSubstr("marked to be checked"));
    const std::string blank = scratch() / "blank.img";
    write_host_file(blank, std::string(1 << 20, '\0'));
    const Outcome nothing = insp({"fsck", "--json", "-a", blank});
    EXPECT_EQ(nothing.code, kNothingMatched);
    EXPECT_EQ(json::parse(nothing.out)["filesystems"], json::array());
    EXPECT_TRUE(refused(insp({"fsck", "-a", guest("gpt"), "/dev/sda3"}), kFailed, "swap"));
}

TEST_F(Fsck, ABtrfsIsOneFileSystem) {
    EXPECT_EQ(insp_ok({"fsck", "-a", guest("btrfs")}), "/dev/sda1: btrfs: clean\n");
    EXPECT_EQ(insp_ok({"fsck", "-a", guest("btrfs"), "btrfsvol:/dev/vda1/@home", "/dev/sda1"}),
              "/dev/sda1: btrfs: clean\n");
    EXPECT_EQ(insp_ok({"fsck", "-a", guest("btrfs-raid1")}), "/dev/sda1: btrfs: clean\n");
}

TEST_F(Fsck, TakesTheNamesThatOthersTake) {
    EXPECT_EQ(insp_ok({"fsck", "-a", guest("gpt"), "/dev/vda2"}), "/dev/sda2: vfat: clean\n");
    EXPECT_EQ(insp_ok({"fsck", "-a", guest("lvm"), "/dev/mapper/debian--vg-home"}),
              "/dev/debian-vg/home: ext4: clean\n");
    EXPECT_THAT(insp_ok({"fsck", "-a", guest("md"), "/dev/md/home"}),
                ::testing::MatchesRegex("/dev/md[0-9]+: ext4: clean\n"));
}

TEST_F(Fsck, RepairsNothingOnADegradedArray) {
    const std::string image = copy_of("md-degraded");
    const std::string before = sha256(image);
    EXPECT_TRUE(refused(insp({"fsck", "--repair", "-a", image}), kFailed, "the RAID /dev/md0 is degraded"));
    EXPECT_EQ(sha256(image), before);
    EXPECT_THAT(insp_ok({"fsck", "-a", image}), HasSubstr("/dev/md0: ext4: clean\n"));
}

// Damage of each kind, made by hand.
class FsckOfEveryKind : public Fsck {
  protected:
    static uint32_t number_at(const std::string& bytes, size_t offset) {
        uint32_t value = 0;
        memcpy(&value, bytes.data() + offset, sizeof value);  // little-endian, as all of them
        return value;
    }
    // `image` is damaged, in the eyes of the judge as well.
    void expect_repaired(const std::string& image, const std::string& type, Args judge) const {
        judge.push_back(image);
        ASSERT_FALSE(run(judge).ok()) << type;
        const std::string before = sha256(image);
        const Outcome found = insp({"fsck", "-a", image});
        EXPECT_EQ(found.code, 4) << found.describe();
        EXPECT_THAT(found.out, HasSubstr("/dev/sda: " + type + ": damaged\n"));
        EXPECT_EQ(sha256(image), before);
        EXPECT_THAT(insp_ok({"fsck", "--repair", "-a", image}),
                    HasSubstr("/dev/sda: " + type + ": repaired\n"));
        const Outcome judged = run(judge);
        EXPECT_TRUE(judged.ok()) << judged.describe();
        EXPECT_EQ(insp_ok({"cat", "-a", image, "-m", "/dev/sda", "/hello.txt"}), "hello, guest\n");
    }
};

TEST_F(FsckOfEveryKind, Xfs) {
    const std::string image = copy_of("xfs");
    ASSERT_TRUE(run({"/usr/sbin/xfs_db", "-x", "-c", "agf 0", "-c", "write -d freeblks 1", image}).ok());
    expect_repaired(image, "xfs", {"/usr/sbin/xfs_repair", "-n"});
}

TEST_F(FsckOfEveryKind, F2fs) {
    // In one with little in it the table is still in a journal.
    fs::create_directory(scratch() / "files");
    write_host_file(scratch() / "files/hello.txt", "hello, guest\n");
    write_host_file(scratch() / "files/big", std::string(3 << 20, 'b'));
    const std::string image = scratch() / "f2fs.img";
    insp_ok({"make-fs", "-t", "f2fs", scratch() / "files", image});
    std::string bytes = read_host_file(image);
    // The segment information table, which the superblock has the place of.
    constexpr size_t kSuper = 1024, kBlock = 4096;
    const size_t table = number_at(bytes, kSuper + 80), behind = number_at(bytes, kSuper + 84);
    bytes.replace(table * kBlock, (behind - table) * kBlock, (behind - table) * kBlock, '\0');
    write_host_file(image, bytes);
    expect_repaired(image, "f2fs", {"/usr/sbin/fsck.f2fs", "--dry-run"});
}

TEST_F(FsckOfEveryKind, Exfat) {
    const std::string image = copy_of("exfat");
    std::string bytes = read_host_file(image);
    constexpr size_t kChecksums = 11 * 512;  // of the boot region; there is a second one
    bytes.replace(kChecksums, 16, 16, '\xaa');
    write_host_file(image, bytes);
    expect_repaired(image, "exfat", {"/usr/sbin/fsck.exfat", "-n"});
}

// The two tables of a FAT16 differ.
TEST_F(FsckOfEveryKind, Vfat) {
    const std::string image = copy_of("vfat");
    std::string bytes = read_host_file(image);
    constexpr size_t kSector = 512, kShort = 0xffff;
    const size_t first = number_at(bytes, 14) & kShort, length = number_at(bytes, 22) & kShort;
    ASSERT_GT(length, 0u);
    bytes.replace((first + length) * kSector + 6, 64, 64, '\0');
    write_host_file(image, bytes);
    expect_repaired(image, "vfat", {"/usr/sbin/fsck.fat", "-n"});
}

// ntfsfix repairs, and leaves a mark that Windows is to look at the rest: only then it is sound.
TEST_F(FsckOfEveryKind, NtfsIsLeftToWindows) {
    const std::string image = copy_of("ntfs");
    std::string bytes = read_host_file(image);
    const size_t cluster = static_cast<unsigned char>(bytes[13]) * (number_at(bytes, 11) & 0xffff);
    const size_t mirror = number_at(bytes, 56) * cluster;  // of the first records of the MFT
    bytes.replace(mirror + 200, 100, 100, 'x');
    write_host_file(image, bytes);
    ASSERT_FALSE(run({"ntfsfix", "-n", image}).ok());
    const Outcome repaired = insp({"fsck", "--repair", "-a", image});
    EXPECT_EQ(repaired.code, 4) << repaired.describe();
    EXPECT_THAT(repaired.out, HasSubstr("/dev/sda: ntfs: damaged\n"));
    EXPECT_THAT(repaired.out, HasSubstr("start Windows"));
    EXPECT_TRUE(run({"ntfsfix", "-n", image}).ok()) << "what could be repaired is";
    const Outcome again = insp({"fsck", "-a", image});
    EXPECT_EQ(again.code, 4) << again.describe();
    // Where there is the mark alone, nothing is done.
    const std::string dirty = copy_of("ntfs-dirty");
    EXPECT_EQ(insp({"fsck", "--repair", "-a", dirty}).code, 4);
    EXPECT_TRUE(same_bytes(dirty, guest("ntfs-dirty")));
}

// Half of a repair must not get into an image because another one succeeded. Of this exFAT the boot region is
// repaired first; its table of upper case letters can't be.
TEST_F(FsckOfEveryKind, NoRepairThatFailedIsKept) {
    const std::string good = copy_of("ext4"), bad = copy_of("exfat");
    ASSERT_TRUE(
        run({"/usr/sbin/debugfs", "-w", "-R", "set_inode_field /hello.txt links_count 7", good}).ok());
    std::string bytes = read_host_file(bad);
    constexpr size_t kChecksums = 11 * 512;
    bytes.replace(kChecksums, 16, 16, '\xaa');
    const size_t letters = bytes.find(std::string("\0\0\1\0\2\0\3\0", 8));
    ASSERT_NE(letters, bytes.npos);
    bytes.replace(letters + 128, 16, 16, 'z');
    write_host_file(bad, bytes);
    // It writes, and fails.
    const std::string tried = scratch() / "tried.img";
    write_host_file(tried, bytes);
    ASSERT_FALSE(run({"/usr/sbin/fsck.exfat", "-y", tried}).ok());
    ASSERT_NE(read_host_file(tried), bytes);
    const std::string before = sha256(bad);
    const Outcome outcome = insp({"fsck", "--repair", "-a", good, "-a", bad});
    EXPECT_EQ(outcome.code, 4) << outcome.describe();
    EXPECT_THAT(outcome.out, HasSubstr("/dev/sda: ext4: repaired\n"));
    EXPECT_THAT(outcome.out, HasSubstr("/dev/sdb: exfat: damaged\n"));
    EXPECT_TRUE(ext_is_clean(good));
    EXPECT_EQ(sha256(bad), before);
}

TEST_F(FsckOfEveryKind, BtrfsHasNoSafeRepair) {
    const std::string image = copy_of("btrfs");
    const std::string partition = cut_out(image, 1);
    // A leaf of the tree of the files, wherever its copies are.
    const std::string dump = run({"btrfs", "inspect-internal", "dump-tree", "-t", "5", partition}).out;
    ASSERT_THAT(dump, HasSubstr("\nleaf "));
    const std::string leaf = dump.substr(dump.find("\nleaf ") + 6);
    const std::string map = run({"btrfs-map-logical", "-l", leaf.substr(0, leaf.find(' ')), partition}).out;
    std::string bytes = read_host_file(image);
    constexpr std::string_view kPhysical = "physical ";
    int copies = 0;
    for (size_t at = map.find(kPhysical); at != map.npos; at = map.find(kPhysical, at + 1), ++copies)
        bytes.replace((1 << 20) + std::stoull(map.substr(at + kPhysical.size())) + 200, 500, 500, 'x');
    ASSERT_GT(copies, 0) << map;
    write_host_file(image, bytes);
    ASSERT_FALSE(run({"btrfs", "check", "--readonly", cut_out(image, 1)}).ok());
    const Outcome found = insp({"fsck", "--repair", "-a", image});
    EXPECT_EQ(found.code, 4) << found.describe();
    EXPECT_THAT(found.out, HasSubstr("There is no safe repair for it"));
    EXPECT_EQ(read_host_file(image), bytes);
}

TEST_F(Fsck, RepairsAndKeepsThat) {
    std::string image = copy_of("ext4");
    // An inode's link count that is wrong.
    ASSERT_TRUE(
        run({"/usr/sbin/debugfs", "-w", "-R", "set_inode_field /hello.txt links_count 7", image}).ok());
    ASSERT_FALSE(ext_is_clean(image));
    std::string before = sha256(image);
    Outcome found = insp({"fsck", "-a", image, "--json"});
    EXPECT_EQ(found.code, 4) << found.describe();
    json report = json::parse(found.out)["filesystems"][0];
    EXPECT_EQ(report["result"], "damaged");
    EXPECT_THAT(report["messages"].get<std::string>(), HasSubstr("ref count"));
    EXPECT_EQ(sha256(image), before);
    EXPECT_THAT(insp_ok({"fsck", "--repair", "-a", image}), HasSubstr("/dev/sda: ext4: repaired\n"));
    EXPECT_TRUE(ext_is_clean(image));
    EXPECT_EQ(debugfs(image, "cat /hello.txt"), "hello, guest\n");
}

}  // namespace
}  // namespace inspect::test
