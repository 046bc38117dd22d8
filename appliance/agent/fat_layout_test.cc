// SPDX-License-Identifier: GPL-2.0-or-later
//
// Boot sectors that mkfs.fat made, and nonsense; what fsck.fat says.
#include "fat_layout.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>

#include "agent_harness.h"
#include "base/units.h"
#include "fat_check.h"

namespace inspect::agent {
namespace {

class FatLayoutTest : public testing::Test {
  protected:
    void SetUp() override {
        if (std::system("command -v mkfs.fat >/dev/null 2>&1") != 0)
            GTEST_SKIP() << "mkfs.fat is not installed";
    }
    std::string make(const std::string& options, uint64_t size) {
        write_text(image_, "");
        std::filesystem::resize_file(image_, size);
        const std::string command = "mkfs.fat -g 2/32 " + options + " " + image_ + " >/dev/null 2>&1";
        EXPECT_EQ(std::system(command.c_str()), 0) << command;
        std::ifstream image(image_, std::ios::binary);
        std::string boot(kFatBootSector, '\0');
        image.read(boot.data(), kFatBootSector);
        return boot;
    }
    static std::optional<FatLayout> parse(const std::string& boot) {
        return parse_fat_boot_sector(std::span<const uint8_t, kFatBootSector>(
            reinterpret_cast<const uint8_t*>(boot.data()), kFatBootSector));
    }
    FatLayout made(const std::string& options, uint64_t size) {
        const auto layout = parse(make(options, size));
        EXPECT_TRUE(layout) << options;
        return layout.value_or(FatLayout{});
    }
    TemporaryDirectory directory_;
    std::string image_ = directory_ / "image";
};

TEST_F(FatLayoutTest, Fat16) {
    const FatLayout layout = made("-F 16 -s 4 -R 4", 64 * kMiB);
    EXPECT_EQ(layout.bits, 16u);
    EXPECT_EQ(layout.size(), 64 * kMiB);
    EXPECT_EQ(layout.cluster_sectors, 4u);
    EXPECT_EQ(layout.reserved_sectors, 4u);
    EXPECT_EQ(layout.backup_sector, 0u);
    EXPECT_EQ(layout.info_sector, 0u);
    EXPECT_EQ(layout.root_entries, 512u);
    EXPECT_EQ(why_fat_is_fixed(layout), "");
    // 65524 clusters and 256 sectors of each table for them.
    EXPECT_EQ(largest_fat(layout) / 2048, (4 + 2 * 256 + 32) / 4 + 65524u);
    EXPECT_EQ(least_fat_clusters(layout), 4087u);
}

TEST_F(FatLayoutTest, Fat32) {
    const FatLayout layout = made("-F 32 -s 8", 300 * kMiB);
    EXPECT_EQ(layout.bits, 32u);
    EXPECT_EQ(layout.size(), 300 * kMiB);
    EXPECT_EQ(layout.info_sector, 1u);
    EXPECT_EQ(layout.backup_sector, 6u);
    EXPECT_EQ(layout.root_cluster, 2u);
    EXPECT_EQ(layout.active_table, 0u);
    EXPECT_EQ(why_fat_is_fixed(layout), "");
    EXPECT_GT(largest_fat(layout), uint64_t{1 << 27} * 4096);
    EXPECT_LT(largest_fat(layout), uint64_t{1 << 27} * 4096 + (uint64_t{2} << 30));
    EXPECT_EQ(least_fat_clusters(layout), 65525u);
    // The number of sectors has 32 bits.
    EXPECT_EQ(largest_fat(made("-F 32 -s 32", 1100 * kMiB)), uint64_t{0xffffffff} * 512);
}

// With fewer clusters than the specification wants, it is one nevertheless.
TEST_F(FatLayoutTest, SmallFat32) {
    const FatLayout layout = made("-F 32 -s 1", 8 * kMiB);
    EXPECT_EQ(layout.bits, 32u);
    EXPECT_LT(layout.clusters, 65525u);
    EXPECT_EQ(why_fat_is_fixed(layout), "");
    EXPECT_EQ(least_fat_clusters(layout), 1u);
}

TEST_F(FatLayoutTest, Fat12) {
    const FatLayout layout = made("-F 12 -s 8", 8 * kMiB);
    EXPECT_EQ(layout.bits, 12u);
    EXPECT_EQ(why_fat_is_fixed(layout), "");
    EXPECT_EQ(resized_fat(layout, kMiB * 100).clusters, 4084u);
    EXPECT_EQ(least_fat_clusters(layout), 1u);
}

TEST_F(FatLayoutTest, WhatStaysAsItIs) {
    EXPECT_EQ(why_fat_is_fixed(made("-F 16 -s 4 -f 3", 64 * kMiB)),
              "it has 3 allocation tables, not one or two");
    FatLayout layout = made("-F 16 -s 4", 64 * kMiB);
    layout.table_sectors = 100;
    EXPECT_EQ(why_fat_is_fixed(layout), "its allocation table is too short for its clusters");
}

// Whatever the size is: the tables suffice, and the data begin whole clusters later.
TEST_F(FatLayoutTest, AnotherSize) {
    for (const char* options :
         {"-F 12 -s 8", "-F 16 -s 1", "-F 16 -s 4 -f 1", "-F 32 -s 1", "-F 32 -s 8 -R 33 -a"}) {
        const FatLayout layout = made(options, 12 * kMiB);
        EXPECT_EQ(resized_fat(layout, layout.size()), layout) << options;
        for (uint64_t size = 4 * kMiB; size < 300 * kMiB; size += 12345 + size / 50) {
            const FatLayout now = resized_fat(layout, size);
            if (now.clusters < least_fat_clusters(layout)) continue;
            SCOPED_TRACE(options + std::to_string(size));
            EXPECT_LE(now.size(), size);
            EXPECT_LE(now.clusters, now.table_capacity());
            EXPECT_EQ((now.data_sector() - layout.data_sector()) % layout.cluster_sectors, 0u);
            EXPECT_EQ(now.clusters, (now.sectors - now.data_sector()) / now.cluster_sectors);
            std::string boot = make(options, 12 * kMiB);
            store_fat_layout(
                std::span<uint8_t, kFatBootSector>(reinterpret_cast<uint8_t*>(boot.data()), kFatBootSector),
                now);
            EXPECT_EQ(parse(boot), now);
            const FatLayout bounded = resized_fat(layout, size, 3);
            EXPECT_LE(bounded.data_sector(), layout.data_sector() + 3 * layout.cluster_sectors);
            EXPECT_LE(bounded.clusters, bounded.table_capacity());
        }
    }
}

TEST_F(FatLayoutTest, Nonsense) {
    const std::string sound = make("-F 16 -s 4", 64 * kMiB);
    ASSERT_TRUE(parse(sound));
    EXPECT_FALSE(parse(std::string(kFatBootSector, '\0')));
    EXPECT_FALSE(parse(std::string(kFatBootSector, '\xff')));
    for (const size_t at : {12, 13, 14, 16}) {
        std::string broken = sound;
        broken[at] = '\0';
        if (at == 14) broken[at + 1] = '\0';
        EXPECT_FALSE(parse(broken)) << at;
    }
    // The structures of a FAT16 with the clusters of a FAT32.
    std::string larger = sound;
    larger[19] = larger[20] = '\0';
    larger[35] = '\x01';
    EXPECT_FALSE(parse(larger));
    // Its metadata alone are more than it has.
    std::string smaller = sound;
    smaller[33] = smaller[34] = smaller[35] = '\0';
    EXPECT_FALSE(parse(smaller));
}

TEST(FatCheck, ALabelThatOnlyTheRootHasIsNoError) {
    const std::string label =
        "fsck.fat 4.2 (2021-01-31)\n"
        "There is no label in boot sector, but there is volume label 'TEST' stored in root directory\n"
        "  Auto-copying volume label from root directory to boot sector.\n\n"
        "Leaving filesystem unchanged.\n";
    const std::string seen = "/dev/vda1: 1 files, 0/51091 clusters\n";
    EXPECT_TRUE(fat_is_sound(label + seen));
    EXPECT_TRUE(fat_is_sound("Free cluster summary uninitialized (should be 5)\n" + seen));
    EXPECT_FALSE(fat_is_sound("Free cluster summary wrong (5 vs. really 4)\n" + seen));
    EXPECT_FALSE(fat_is_sound(
        label + "Dirty bit is set. Fs was not properly unmounted and some data may be corrupt.\n" + seen));
    EXPECT_FALSE(fat_is_sound(label + "/hello.txt\n  Contains a free cluster (5). Assuming EOF.\n" + seen));
}

}  // namespace
}  // namespace inspect::agent
