// SPDX-License-Identifier: GPL-2.0-or-later
//
// Tables that sfdisk made, edited, and read by sfdisk.
#include "partition_edit.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <functional>

#include "agent_harness.h"
#include "base/units.h"
#include "failure.h"
#include "partition_format.h"
#include "partition_table.h"

namespace inspect::agent {
namespace {

class PartitionEditTest : public testing::Test {
  protected:
    void SetUp() override {
        if (std::system("sfdisk --version >/dev/null 2>&1") != 0) GTEST_SKIP() << "sfdisk is not installed";
    }
    std::string run(const std::string& command) {
        const std::string out = directory_ / "out";
        EXPECT_EQ(std::system((command + " >" + out + " 2>&1").c_str()), 0) << command << "\n"
                                                                            << read_text(out);
        return read_text(out);
    }
    void make(const std::string& script, uint64_t size) {
        write_text(image_, "");
        std::filesystem::resize_file(image_, size);
        write_text(directory_ / "script", script);
        run("sfdisk -q " + image_ + " <" + (directory_ / "script"));
        // Boot code, which must stay.
        Fd fd = open_file(image_, O_RDWR);
        const std::string code(440, 'B');
        pwrite_full(fd.get(), std::as_bytes(std::span(code)), 0, "poke");
    }
    std::string dump() { return run("sfdisk -d " + image_ + " | grep -v ^device"); }
    // Of an image that has the new size already, or still the old one.
    void edit(const PartitionEdit& edit, uint32_t sector_size = 512) {
        if (edit.disk_size > std::filesystem::file_size(image_))
            std::filesystem::resize_file(image_, edit.disk_size);
        Fd fd = open_file(image_, O_RDWR);
        edit_partition_table(fd.get(), std::filesystem::file_size(image_), sector_size, edit);
        fd.reset();
        std::filesystem::resize_file(image_, edit.disk_size);
        EXPECT_EQ(read_text(image_).substr(0, 440), std::string(440, 'B'));
    }
    std::string refusal(const PartitionEdit& wanted) {
        const std::string before = read_text(image_);
        try {
            Fd fd = open_file(image_, O_RDWR);
            edit_partition_table(fd.get(), std::filesystem::file_size(image_), 512, wanted);
        } catch (const Failure& failure) {
            EXPECT_EQ(read_text(image_), before);
            return failure.message();
        }
        ADD_FAILURE() << "it was written";
        return {};
    }

    TemporaryDirectory directory_;
    std::string image_ = directory_ / "image";
};

// The layout of Ubuntu's cloud images, with names and attributes.
constexpr char kUbuntu[] =
    "label: gpt\nlabel-id: 12345678-1234-4234-8234-123456789012\n"
    "image14 : start=2048, size=8192, type=21686148-6449-6E6F-744E-656564454649, name=\"bios boot\"\n"
    "image15 : start=10240, size=20480, type=U, attrs=\"RequiredPartition LegacyBIOSBootable GUID:50\"\n"
    "image1 : start=30720, size=30000, type=L, uuid=99999999-9999-4999-8999-999999999999, name=\"root\"\n";

TEST_F(PartitionEditTest, GptGrowsAndKeepsAllElse) {
    make(kUbuntu, 32 * kMiB);
    std::string wanted = dump();
    edit({.disk_size = 64 * kMiB, .sizes = {{1, 40 * kMiB}}, .removed = {}});
    wanted = replaced(wanted, "size=       30000", "size=       81920");
    wanted = replaced(wanted, "last-lba: 65502", "last-lba: 131038");
    EXPECT_EQ(dump(), wanted);
    EXPECT_THAT(run("sfdisk -V " + image_), testing::HasSubstr("No errors detected"));
    EXPECT_EQ(read_text(image_).substr(32 * kMiB - 512, 8), std::string(8, '\0'));  // the old backup
    Fd fd = open_file(image_, O_RDONLY);
    const PartitionTable table = read_partition_table(fd.get(), 64 * kMiB, 512, true);
    EXPECT_THAT(table.warnings, testing::IsEmpty());
    EXPECT_EQ(table.obstacle, "");
    EXPECT_EQ(table.reserved_at_end, 33 * 512u);
}

// The place of the old backup is the image's word.
TEST_F(PartitionEditTest, OnlyAnOldBackupIsErased) {
    const std::string data(512, 'd');
    auto with_first_copy = [&](const std::function<void(GptCopy&)>& change, uint64_t lba = 1) {
        Fd fd = open_file(image_, O_RDWR);
        std::optional<GptCopy> copy = read_gpt_copy(fd.get(), 32 * kMiB, 512, 1);
        ASSERT_TRUE(copy);
        change(*copy);
        copy->seal();
        pwrite_full(fd.get(), std::as_bytes(std::span(copy->sector)), lba * 512, "poke");
    };
    constexpr uint64_t kInside = 50000;  // of partition 1
    for (uint64_t place : {uint64_t{1}, uint64_t{2}, kInside, uint64_t{UINT64_MAX}}) {
        SCOPED_TRACE(place);
        make(kUbuntu, 32 * kMiB);
        with_first_copy([&](GptCopy& copy) {
            copy.header.alternate_lba = place;
            copy.header.last_usable = 2100;
        });
        {
            Fd fd = open_file(image_, O_RDWR);
            pwrite_full(fd.get(), std::as_bytes(std::span(data)), kInside * 512, "poke");
        }
        edit({.disk_size = 64 * kMiB, .sizes = {{1, 40 * kMiB}}, .removed = {}});
        EXPECT_THAT(run("sfdisk -V " + image_), testing::HasSubstr("No errors detected"));
        EXPECT_EQ(read_text(image_).substr(kInside * 512, 512), data);
    }
    // What looks like one, but is in a partition.
    make(kUbuntu, 32 * kMiB);
    with_first_copy([&](GptCopy& copy) { copy.header.my_lba = kInside; }, kInside);
    with_first_copy([&](GptCopy& copy) {
        copy.header.alternate_lba = kInside;
        copy.header.last_usable = 2100;
    });
    edit({.disk_size = 64 * kMiB, .sizes = {}, .removed = {}});
    EXPECT_EQ(read_text(image_).substr(kInside * 512, 8), "EFI PART");
}

TEST_F(PartitionEditTest, RefusesWhatIsNotUnderstood) {
    make("label: dos\nsize=4MiB,type=83\nsize=20MiB,type=5\nimage5 : size=8MiB,type=83\n", 64 * kMiB);
    const std::string nothing(2, '\0');
    Fd fd = open_file(image_, O_RDWR);
    pwrite_full(fd.get(), std::as_bytes(std::span(nothing)), 5 * kMiB + 510, "poke");
    EXPECT_THAT(refusal({.disk_size = 64 * kMiB, .sizes = {{2, 30 * kMiB}}, .removed = {}}),
                testing::HasSubstr("the chain of logical partitions is broken"));
}

TEST_F(PartitionEditTest, GptShrinks) {
    make(kUbuntu, 64 * kMiB);
    std::string wanted = dump();
    edit({.disk_size = 20 * kMiB, .sizes = {{1, 4 * kMiB}}, .removed = {14}});
    EXPECT_THAT(run("sfdisk -V " + image_), testing::HasSubstr("No errors detected"));
    EXPECT_THAT(dump(),
                testing::AllOf(testing::HasSubstr("last-lba: 40926"), testing::HasSubstr("size=        8192"),
                               testing::Not(testing::HasSubstr("bios boot"))));
}

TEST_F(PartitionEditTest, MbrWithLogicalPartitions) {
    make(
        "label: dos\nlabel-id: 0x1234abcd\nsize=4MiB,type=83,bootable\nsize=40MiB,type=5\n"
        "image5 : size=8MiB,type=83\nimage6 : size=8MiB,type=82\nimage7 : size=8MiB,type=8e\n",
        64 * kMiB);
    std::string wanted = dump();
    edit({.disk_size = 128 * kMiB, .sizes = {{2, 100 * kMiB}, {6, 4 * kMiB}, {7, 60 * kMiB}}, .removed = {}});
    wanted = replaced(wanted, "size=       81920, type=5", "size=      204800, type=5");
    wanted = replaced(wanted, "size=       16384, type=82", "size=        8192, type=82");
    wanted = replaced(wanted, "size=       16384, type=8e", "size=      122880, type=8e");
    EXPECT_EQ(dump(), wanted);
    EXPECT_THAT(run("sfdisk -V " + image_), testing::HasSubstr("No errors detected"));
}

TEST_F(PartitionEditTest, RefusesBeforeItWrites) {
    make(kUbuntu, 32 * kMiB);
    EXPECT_THAT(refusal({.disk_size = 32 * kMiB, .sizes = {{14, 8 * kMiB}}, .removed = {}}),
                testing::HasSubstr("overlap partition 15"));
    EXPECT_THAT(refusal({.disk_size = 32 * kMiB, .sizes = {{1, 17 * kMiB}}, .removed = {}}),
                testing::HasSubstr("behind the end of the disk"));
    EXPECT_THAT(refusal({.disk_size = 32 * kMiB, .sizes = {{2, kMiB}}, .removed = {}}),
                testing::HasSubstr("no partition 2"));
    EXPECT_THAT(refusal({.disk_size = 32 * kMiB, .sizes = {{1, 1000}}, .removed = {}}),
                testing::HasSubstr("sector size"));
    // A hybrid MBR: a second entry beside the protective one.
    {
        Fd fd = open_file(image_, O_RDWR);
        const std::string entry("\x80\0\0\0\x83\0\0\0\0\x78\0\0\0\x10\0\0", 16);
        pwrite_full(fd.get(), std::as_bytes(std::span(entry)), 446 + 16, "poke");
    }
    EXPECT_THAT(refusal({.disk_size = 32 * kMiB, .sizes = {}, .removed = {}}), testing::HasSubstr("hybrid"));
}

TEST_F(PartitionEditTest, RefusesAGptWhoseCopiesDiffer) {
    make(kUbuntu, 32 * kMiB);
    const std::string first = read_text(image_).substr(0, 34 * 512);
    run("sfdisk -q --part-label " + image_ + " 1 other");
    Fd fd = open_file(image_, O_RDWR);
    pwrite_full(fd.get(), std::as_bytes(std::span(first)), 0, "poke");
    EXPECT_THAT(refusal({.disk_size = 32 * kMiB, .sizes = {}, .removed = {}}),
                testing::HasSubstr("copies differ"));
}

}  // namespace
}  // namespace inspect::agent
