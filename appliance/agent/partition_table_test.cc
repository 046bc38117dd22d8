// SPDX-License-Identifier: GPL-2.0-or-later
#include "partition_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>
#include <functional>

#include "agent_harness.h"
#include "base/endian.h"
#include "base/units.h"
#include "crc.h"
#include "partition_format.h"

namespace inspect::agent {
namespace {

using testing::Contains;
using testing::HasSubstr;
using testing::IsEmpty;

// A sparse image whose table sfdisk makes, an independent judge of what a table is.
class TableTest : public testing::Test {
  protected:
    void SetUp() override {
        if (std::system("sfdisk --version >/dev/null 2>&1") != 0) GTEST_SKIP() << "sfdisk is not installed";
    }
    void make(const std::string& script, uint64_t size) {
        write_text(image_, "");
        std::filesystem::resize_file(image_, size);
        write_text(directory_ / "script", script);
        std::string command =
            "LC_ALL=C.UTF-8 sfdisk -q " + image_ + " <" + (directory_ / "script") + " >/dev/null 2>&1";
        ASSERT_EQ(std::system(command.c_str()), 0) << script;
    }
    PartitionTable read(bool thorough = true, uint32_t sector_size = 512) {
        Fd fd = open_file(image_, O_RDONLY);
        return read_partition_table(fd.get(), std::filesystem::file_size(image_), sector_size, thorough);
    }
    void poke(uint64_t offset, const std::string& bytes) {
        Fd fd = open_file(image_, O_RDWR);
        pwrite_full(fd.get(), std::as_bytes(std::span(bytes)), offset, "poke");
    }

    // Changes both copies of the GPT.
    void change_gpt(const std::function<void(GptCopy&)>& change) {
        const uint64_t size = std::filesystem::file_size(image_);
        Fd fd = open_file(image_, O_RDWR);
        for (uint64_t lba : {uint64_t{1}, size / 512 - 1}) {
            std::optional<GptCopy> copy = read_gpt_copy(fd.get(), size, 512, lba);
            ASSERT_TRUE(copy);
            change(*copy);
            copy->seal();
            pwrite_full(fd.get(), std::as_bytes(std::span(copy->entries)), copy->header.entries_lba * 512,
                        "poke");
            pwrite_full(fd.get(), std::as_bytes(std::span(copy->sector)), lba * 512, "poke");
        }
    }
    static void set_entry(GptCopy& copy, size_t index, uint64_t first, uint64_t last) {
        GptEntry entry;
        std::memcpy(&entry, copy.entries.data(), sizeof entry);
        entry.first = first;
        entry.last = last;
        std::memcpy(copy.entries.data() + index * sizeof entry, &entry, sizeof entry);
    }

    TemporaryDirectory directory_;
    std::string image_ = directory_ / "image";
};

TEST_F(TableTest, MbrWithLogicalPartitions) {
    make(
        "label: dos\nlabel-id: 0x1234abcd\nsize=1MiB,type=83\nsize=2MiB,type=82,bootable\nsize=20MiB,type=5\n"
        "size=1MiB,type=c\nsize=3MiB,type=83\nsize=4MiB,type=8e\n",
        40 * kMiB);
    PartitionTable table = read();
    EXPECT_EQ(table.type, "dos");
    EXPECT_THAT(table.warnings, IsEmpty());
    ASSERT_EQ(table.partitions.size(), 6u);
    EXPECT_EQ(table.partitions[0].start, kMiB);
    EXPECT_EQ(table.partitions[0].size, kMiB);
    EXPECT_EQ(table.partitions[0].type, "0x83");
    EXPECT_EQ(table.partitions[0].uuid, "1234abcd-01");
    EXPECT_EQ(table.partitions[1].type, "0x82");
    EXPECT_TRUE(table.partitions[2].container);
    EXPECT_EQ(table.partitions[3].type, "0x0c");
    EXPECT_EQ(table.partitions[4].number, 5u);
    EXPECT_EQ(table.partitions[4].start, 5 * kMiB);
    EXPECT_EQ(table.partitions[4].size, 3 * kMiB);
    EXPECT_EQ(table.partitions[5].number, 6u);
    EXPECT_EQ(table.partitions[5].uuid, "1234abcd-06");
    EXPECT_EQ(table.partitions[5].type, "0x8e");
}

TEST_F(TableTest, Gpt) {
    make(
        "label: gpt\nsize=2MiB,type=U,uuid=11111111-2222-3333-4444-55555555ABCD,name=\"Gr\xc3\xbc\xc3\x9f "
        "\xe2\x82\xac\"\nsize=3MiB,type=L\n",
        16 * kMiB);
    PartitionTable table = read();
    EXPECT_EQ(table.type, "gpt");
    EXPECT_THAT(table.warnings, IsEmpty());
    ASSERT_EQ(table.partitions.size(), 2u);
    EXPECT_EQ(table.partitions[0].start, kMiB);
    EXPECT_EQ(table.partitions[0].size, 2 * kMiB);
    EXPECT_EQ(table.partitions[0].type, "c12a7328-f81f-11d2-ba4b-00a0c93ec93b");
    EXPECT_EQ(table.partitions[0].uuid, "11111111-2222-3333-4444-55555555abcd");
    EXPECT_EQ(table.partitions[0].label, "Gr\xc3\xbc\xc3\x9f \xe2\x82\xac");
    EXPECT_EQ(table.partitions[1].type, "0fc63daf-8483-4772-8e79-3d69d8477de4");
}

// Made by hand from the table that sfdisk made for sectors of 512 bytes: the same, eight times as far apart.
TEST_F(TableTest, GptOf4096ByteSectors) {
    make("label: gpt\nsize=2MiB\nsize=3MiB\n", 16 * kMiB);
    std::string small = read_text(image_);
    constexpr uint64_t kSize = 16 * kMiB;
    std::string large(kSize, '\0');
    large.replace(0, 512, small, 0, 512);
    std::string entries = small.substr(1024, 128 * 128);
    for (size_t i = 0; i < 2; ++i) {
        le64 lba;
        for (size_t field : {32u, 40u}) {
            std::memcpy(&lba, entries.data() + i * 128 + field, 8);
            uint64_t value = lba;
            lba = field == 32 ? value / 8 : (value + 1) / 8 - 1;
            std::memcpy(entries.data() + i * 128 + field, &lba, 8);
        }
    }
    uint64_t last = kSize / 4096 - 1;
    for (bool backup : {false, true}) {
        std::string header = small.substr(512, 92);
        auto put = [&](size_t at, auto value) { std::memcpy(header.data() + at, &value, sizeof value); };
        put(24, le64(backup ? last : 1));
        put(32, le64(backup ? 1 : last));
        put(40, le64(6));
        put(48, le64(last - 5));
        put(72, le64(backup ? last - 4 : 2));
        put(88, le32(crc32(entries.data(), entries.size())));
        put(16, le32(0));
        put(16, le32(crc32(header.data(), header.size())));
        large.replace((backup ? last : 1) * 4096, header.size(), header);
        large.replace((backup ? last - 4 : 2) * 4096, entries.size(), entries);
    }
    write_text(image_, large);
    PartitionTable table = read(true, 4096);
    EXPECT_EQ(table.type, "gpt");
    EXPECT_THAT(table.warnings, IsEmpty());
    ASSERT_EQ(table.partitions.size(), 2u);
    EXPECT_EQ(table.partitions[0].start, kMiB);
    EXPECT_EQ(table.partitions[1].size, 3 * kMiB);
    PartitionTable other = read(true, 512);
    EXPECT_THAT(other.partitions, IsEmpty());
    EXPECT_THAT(other.warnings, Contains(HasSubstr("made for sectors of 4096 bytes")));
}

TEST_F(TableTest, ADamagedGptIsReadFromItsBackup) {
    make("label: gpt\nsize=2MiB\nsize=3MiB\n", 16 * kMiB);
    poke(512 + 60, "garbage");
    PartitionTable table = read();
    EXPECT_EQ(table.partitions.size(), 2u);
    EXPECT_THAT(table.warnings, Contains(HasSubstr("its backup at the end of the disk is used")));
    poke(16 * kMiB - 512 + 20, "garbage");
    table = read();
    EXPECT_THAT(table.partitions, IsEmpty());
    EXPECT_THAT(table.warnings, Contains(HasSubstr("and so is its backup")));
}

TEST_F(TableTest, AMissingBackupIsAWarning) {
    make("label: gpt\nsize=2MiB\n", 16 * kMiB);
    poke(16 * kMiB - 512, std::string(512, '\0'));
    PartitionTable table = read();
    EXPECT_EQ(table.partitions.size(), 1u);
    EXPECT_THAT(table.warnings, Contains("the GPT's backup is damaged or missing"));
    EXPECT_THAT(read(false).warnings, IsEmpty());
}

TEST_F(TableTest, PartitionsPastTheEnd) {
    make("label: dos\nsize=2MiB,type=83\nsize=4MiB,type=83\nsize=4MiB,type=83\n", 16 * kMiB);
    std::filesystem::resize_file(image_, 5 * kMiB);
    PartitionTable table = read();
    ASSERT_EQ(table.partitions.size(), 2u);
    EXPECT_EQ(table.partitions[1].size, 2 * kMiB);
    EXPECT_THAT(table.warnings,
                testing::ElementsAre(HasSubstr("partition 2 ends past the end of the disk"),
                                     HasSubstr("partition 3 begins past the end of the disk")));
}

TEST_F(TableTest, AChainOfLogicalPartitionsThatLoopsEnds) {
    make(
        "label: "
        "dos\nsize=20MiB,type=5\nsize=1MiB\nsize=1MiB\nsize=1MiB\nsize=3MiB,type=83\nsize=4MiB,type=83\n",
        40 * kMiB);
    // The second EBR is at 5 MiB (1 + 1 + 3); its link is made to lead to itself.
    uint32_t sector = 0;
    {
        Fd fd = open_file(image_, O_RDONLY);
        le32 start;
        pread_full(fd.get(), std::as_writable_bytes(std::span(&start, 1)), kMiB + 446 + 16 + 8, "read");
        sector = start;
    }
    ASSERT_GT(sector, 0u);
    uint64_t second = kMiB + static_cast<uint64_t>(sector) * 512;
    std::string link(16, '\0');
    link[4] = 5;
    le32 start = sector;
    le32 size = 8192;
    std::memcpy(link.data() + 8, &start, 4);
    std::memcpy(link.data() + 12, &size, 4);
    poke(second + 446 + 16, link);
    PartitionTable table = read();
    EXPECT_THAT(table.warnings, Contains("the chain of logical partitions does not end"));
    EXPECT_GT(table.partitions.size(), 6u);
    EXPECT_THAT(table.obstacle, HasSubstr("does not end"));
}

// What is left out would be taken for free space.
TEST_F(TableTest, WhatIsLeftOutIsAnObstacle) {
    make("label: dos\nsize=20MiB,type=5\nsize=3MiB,type=83\nsize=4MiB,type=83\n", 40 * kMiB);
    EXPECT_EQ(read().obstacle, "");
    poke(kMiB + 510, std::string(2, '\0'));
    PartitionTable table = read();
    EXPECT_THAT(table.warnings, Contains("the chain of logical partitions is broken"));
    EXPECT_THAT(table.obstacle, HasSubstr("the chain of logical partitions is broken; repair it first"));

    make("label: dos\nsize=2MiB,type=83\nsize=4MiB,type=83\n", 16 * kMiB);
    std::filesystem::resize_file(image_, 3 * kMiB);
    EXPECT_THAT(read().obstacle, HasSubstr("partition 2 begins past the end of the disk"));

    make("label: gpt\ntable-length: 300\nsize=2MiB\n", 16 * kMiB);
    EXPECT_EQ(read().obstacle, "");
    change_gpt([](GptCopy& copy) { set_entry(copy, 2, 8000, 7000); });
    EXPECT_THAT(read().obstacle, HasSubstr("partition 3 ends before it begins"));
    change_gpt([](GptCopy& copy) {
        set_entry(copy, 2, 7000, 8000);
        set_entry(copy, 260, 9000, 9999);
    });
    table = read();
    EXPECT_EQ(table.partitions.size(), 2u);
    EXPECT_THAT(table.obstacle, HasSubstr("more than 255 partitions"));
}

TEST_F(TableTest, WarningsHaveAnEnd) {
    make("label: gpt\ntable-length: 300\nsize=2MiB\n", 16 * kMiB);
    change_gpt([](GptCopy& copy) {
        for (size_t i = 0; i < 255; ++i) set_entry(copy, i, 4000, 8000);
    });
    const PartitionTable table = read();
    EXPECT_EQ(table.partitions.size(), 255u);
    ASSERT_EQ(table.warnings.size(), 51u);
    EXPECT_EQ(table.warnings.back(), "and " + std::to_string(255 * 254 / 2 - 50) + " more of this kind");
}

// Of a header that says that it is its own backup, or that this is where partitions may be.
TEST_F(TableTest, ABackupInAnImpossiblePlaceIsNone) {
    make("label: gpt\nsize=2MiB\n", 16 * kMiB);
    for (uint64_t place : {1, 2, 3000}) {
        change_gpt([&](GptCopy& copy) { copy.header.alternate_lba = place; });
        EXPECT_THAT(read().warnings, testing::ElementsAre("the GPT's backup is damaged or missing")) << place;
    }
}

TEST_F(TableTest, WhatIsNoTable) {
    write_text(image_, std::string(kMiB, '\0'));
    EXPECT_EQ(read().type, "");
    // A boot sector with code where the table would be.
    std::string sector(512, '\x90');
    sector[510] = '\x55';
    sector[511] = '\xaa';
    poke(0, sector);
    EXPECT_EQ(read().type, "");
    write_text(image_, "tiny");
    EXPECT_EQ(read().type, "");
    write_text(image_, "");
    EXPECT_EQ(read().type, "");
    if (std::system("mkfs.vfat --version >/dev/null 2>&1; test $? -ne 127") == 0) {
        std::filesystem::resize_file(image_, 4 * kMiB);
        ASSERT_EQ(std::system(("mkfs.vfat --mbr=yes " + image_ + " >/dev/null").c_str()), 0);
        EXPECT_EQ(read().type, "") << "mkfs.fat's imitation of a table";
    }
}

}  // namespace
}  // namespace inspect::agent
