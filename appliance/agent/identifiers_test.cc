// SPDX-License-Identifier: GPL-2.0-or-later
//
// Identifiers of what mkfs and sfdisk made. blkid, sfdisk and the file systems' own checkers judge.
#include <gmock/gmock.h>

#include <cstdlib>

#include "agent_harness.h"
#include "base/units.h"
#include "contents_id.h"
#include "failure.h"
#include "table_ids.h"

namespace inspect::agent {
namespace {

constexpr char kOld[] = "00112233-4455-4677-8899-aabbccddeeff";
// With the CRC-32C, and the CRC-32, that kOld has.
constexpr char kSameCrc32c[] = "c0ffee00-beef-4ace-8bad-5eed713bbd70";
constexpr char kSameCrc32[] = "c0ffee00-beef-4ace-8bad-5eeded1f82ec";

class Identifiers : public testing::Test {
  protected:
    // False: the program for it isn't installed.
    bool make(const std::string& command, uint64_t size) {
        write_text(image_, "");
        std::filesystem::resize_file(image_, size);
        const std::string program = command.substr(0, command.find(' '));
        if (std::system(("command -v " + program + " >/dev/null 2>&1").c_str()) != 0) return false;
        run(command + " " + image_);
        return true;
    }
    std::string run(const std::string& command) {
        const std::string out = directory_ / "out";
        EXPECT_EQ(std::system((command + " >" + out + " 2>&1").c_str()), 0) << command << "\n"
                                                                            << read_text(out);
        return read_text(out);
    }
    bool set(const char* type, const char* id) {
        const Fd fd = open_file(image_, O_RDWR);
        return set_contents_id(fd.get(), std::filesystem::file_size(image_), type, id);
    }
    std::string id() {
        std::string text = run("blkid -p -s UUID -o value " + image_);
        return text.substr(0, text.find('\n'));
    }
    void expect_left_alone(const char* type, const char* id) {
        const std::string before = read_text(image_);
        EXPECT_FALSE(set(type, id));
        EXPECT_EQ(read_text(image_), before);
    }
    void expect_ext(const std::string& options, const char* id) {
        ASSERT_TRUE(make("mkfs.ext4 -q -F -U " + std::string(kOld) + " " + options, 64 * kMiB));
        run("debugfs -w -R 'mkdir folder' " + image_);
        ASSERT_TRUE(set("ext4", id)) << options;
        EXPECT_EQ(this->id(), id);
        run("e2fsck -fn " + image_);
        // The copies have it as well: e2fsck works from one.
        for (const char* block : {"8193", "32768"}) {
            if (options.find(block) == options.npos) continue;
            EXPECT_THAT(run("dumpe2fs -h -o superblock=" + std::string(block) + " " + image_),
                        testing::HasSubstr(id));
        }
    }

    TemporaryDirectory directory_;
    std::string image_ = directory_ / "image";
};

TEST_F(Identifiers, ExtWithChecksumsThatStayRight) {
    expect_ext("-b 1024 -O metadata_csum -E root_owner=0:8193", kSameCrc32c);
    expect_ext("-b 1024 -O metadata_csum,bigalloc -C 4096", kSameCrc32c);
    // Without any, or with a seed of their own, it may be any.
    expect_ext("-b 1024 -O ^metadata_csum,^uninit_bg,^resize_inode,^sparse_super -E root_owner=0:8193",
               kSameCrc32);
    expect_ext("-b 1024 -O metadata_csum,metadata_csum_seed,sparse_super2", kSameCrc32);
}

TEST_F(Identifiers, ExtThatWantsTune2fsIsLeftAlone) {
    ASSERT_TRUE(make("mkfs.ext4 -q -F -O metadata_csum -U " + std::string(kOld), 16 * kMiB));
    expect_left_alone("ext4", kSameCrc32);  // its checksums would be wrong
    run("debugfs -w -R 'feature needs_recovery' " + image_);
    expect_left_alone("ext4", kSameCrc32c);
    ASSERT_TRUE(make("mkfs.ext4 -q -F -O ^metadata_csum,uninit_bg", 16 * kMiB));
    expect_left_alone("ext4", kSameCrc32c);
    ASSERT_TRUE(make("mkfs.ext4 -q -F -O metadata_csum -U " + std::string(kOld), 16 * kMiB));
    {
        const Fd fd = open_file(image_, O_RDWR);
        pwrite_full(fd.get(), std::as_bytes(std::span("x", 1)), 1024 + 0x78, "poke");  // the label
    }
    expect_left_alone("ext4", kSameCrc32c);
    // What is no file system at all.
    write_text(image_, std::string(4096, '\0'));
    expect_left_alone("ext4", kSameCrc32c);
    write_text(image_, "short");
    for (const char* type : {"ext4", "vfat", "swap", "f2fs", "xfs"})
        expect_left_alone(type, std::string_view(type) == "vfat" ? "AAAA-BBBB" : kSameCrc32c);
}

TEST_F(Identifiers, Fat) {
    for (const char* command : {"mkfs.fat -F 12 -i 11112222", "mkfs.fat -F 16 -s 1 -i 11112222"}) {
        ASSERT_TRUE(make(command, 8 * kMiB));
        ASSERT_TRUE(set("vfat", "1A2B-3C4D")) << command;
        EXPECT_EQ(id(), "1A2B-3C4D");
        run("fsck.fat -n " + image_);
    }
    ASSERT_TRUE(make("mkfs.fat -F 32 -i 11112222", 64 * kMiB));
    ASSERT_TRUE(set("vfat", "1A2B-3C4D"));
    EXPECT_EQ(id(), "1A2B-3C4D");
    // fsck.fat compares the boot sector with its copy.
    EXPECT_THAT(run("fsck.fat -n " + image_), testing::Not(testing::HasSubstr("differences")));
}

TEST_F(Identifiers, Swap) {
    ASSERT_TRUE(make("mkswap -q -L name", 4 * kMiB));
    ASSERT_TRUE(set("swap", kSameCrc32));
    EXPECT_EQ(id(), kSameCrc32);
    EXPECT_THAT(run("blkid -p -s LABEL -o value " + image_), "name\n");
}

TEST_F(Identifiers, F2fs) {
    const std::string uuid = std::string(" -U ") + kOld;
    if (!make("mkfs.f2fs -q" + uuid, 64 * kMiB)) GTEST_SKIP() << "mkfs.f2fs is not installed";
    ASSERT_TRUE(set("f2fs", kSameCrc32));
    EXPECT_EQ(id(), kSameCrc32);
    run("fsck.f2fs --dry-run " + image_);
    ASSERT_TRUE(make("mkfs.f2fs -q -O extra_attr,inode_checksum,sb_checksum" + uuid, 64 * kMiB));
    expect_left_alone("f2fs", kSameCrc32c);
    ASSERT_TRUE(set("f2fs", kSameCrc32));
    EXPECT_EQ(id(), kSameCrc32);
    EXPECT_THAT(run("fsck.f2fs --dry-run " + image_),
                testing::Not(testing::ContainsRegex("\\[Fail\\]|[Ii]nvalid|mismatch")));
}

TEST_F(Identifiers, RefusesWhatIsNone) {
    ASSERT_TRUE(make("mkswap -q", 4 * kMiB));
    for (const char* id : {"", "1234", "00112233-4455-4677-8899-aabbccddeefg",
                           "00112233-4455-4677-8899-aabbccddeeff0", "001122334455-4677-8899-aabbccddeeff--"})
        EXPECT_THROW(set("swap", id), Failure) << id;
    EXPECT_THROW(set("vfat", kOld), Failure);
}

class TableIdsTest : public Identifiers {
  protected:
    void SetUp() override {
        if (std::system("sfdisk --version >/dev/null 2>&1") != 0) GTEST_SKIP() << "sfdisk is not installed";
    }
    void make(const std::string& script) {
        write_text(image_, "");
        std::filesystem::resize_file(image_, 32 * kMiB);
        write_text(directory_ / "script", script);
        run("sfdisk -q " + image_ + " <" + (directory_ / "script"));
    }
    void set(const TableIds& ids) {
        const Fd fd = open_file(image_, O_RDWR);
        set_table_ids(fd.get(), 32 * kMiB, 512, ids);
    }
    std::string dump() { return run("sfdisk -d " + image_ + " | grep -v ^device"); }
};

constexpr char kGpt[] =
    "label: gpt\nlabel-id: 12345678-1234-4234-8234-123456789012\n"
    "image14 : start=2048, size=8192, type=21686148-6449-6E6F-744E-656564454649, name=\"bios boot\"\n"
    "image1 : start=30720, size=30000, type=L, uuid=99999999-9999-4999-8999-999999999999, name=\"root\"\n";

TEST_F(TableIdsTest, NothingElseOfAGptChanges) {
    make(kGpt);
    std::string wanted = dump();
    set({"c0ffee00-beef-4ace-8bad-5eed713bbd70", {{1, "aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee"}}});
    wanted = replaced(wanted, "12345678-1234-4234-8234-123456789012", "C0FFEE00-BEEF-4ACE-8BAD-5EED713BBD70");
    wanted = replaced(wanted, "99999999-9999-4999-8999-999999999999", "AAAAAAAA-BBBB-4CCC-8DDD-EEEEEEEEEEEE");
    EXPECT_EQ(dump(), wanted);
    EXPECT_THAT(run("sfdisk -V " + image_), testing::HasSubstr("No errors detected"));
    // The backup says the same: it is read where the first copy is gone.
    {
        const Fd fd = open_file(image_, O_RDWR);
        const std::string zeros(512, '\0');
        pwrite_full(fd.get(), std::as_bytes(std::span(zeros)), 512, "poke");
    }
    EXPECT_EQ(dump(), wanted);
    set({"", {{1, kOld}}});
    EXPECT_THAT(dump(), testing::HasSubstr("00112233-4455-4677-8899-AABBCCDDEEFF"));
    EXPECT_THROW(set({"", {{129, kOld}}}), Failure);
}

TEST_F(TableIdsTest, AnMbr) {
    make(
        "label: dos\nlabel-id: "
        "0x1234abcd\nsize=4MiB,type=83,bootable\nsize=20MiB,type=5\nsize=4MiB,type=83\n");
    std::string wanted = dump();
    set({"0x00c0ffee", {}});
    EXPECT_EQ(dump(), replaced(wanted, "0x1234abcd", "0x00c0ffee"));
    for (const char* id : {"00c0ffee", "0x1ffffffff", "0xnone", kOld})
        EXPECT_THROW(set({id, {}}), Failure) << id;
    EXPECT_THROW(set({"0x00c0ffee", {{1, kOld}}}), Failure);
    write_text(image_, std::string(32 * kMiB, '\0'));
    EXPECT_THROW(set({"0x00c0ffee", {}}), Failure);
}

}  // namespace
}  // namespace inspect::agent
