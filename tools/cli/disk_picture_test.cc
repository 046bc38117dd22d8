// SPDX-License-Identifier: GPL-2.0-or-later
#include "cli/disk_picture.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace inspect::cli {
namespace {

DiskState disk_with(uint64_t start, uint64_t size) {
    DiskState disk;
    disk.size = 1 << 30;
    disk.table = TableKind::kGpt;
    DiskPartition partition;
    partition.device = "/dev/sda1";
    partition.start = start;
    partition.size = size;
    disk.partitions.push_back(partition);
    return disk;
}

TEST(DiskPicture, ShowsPartitionsAndWhatIsFree) {
    const DiskState disk = disk_with(1 << 20, 512 << 20);
    const std::string picture = disk_picture(disk, disk.size, 20);
    EXPECT_EQ(picture,
              "+----------+.........+\n"
              "|sda1      |         |\n"
              "+----------+.........+\n");
}

// A table says what it likes.
TEST(DiskPicture, NothingIsBeyondTheEnd) {
    for (const uint64_t start : {uint64_t{1} << 30, uint64_t{1} << 40, uint64_t{1} << 62}) {
        const std::string picture = disk_picture(disk_with(start, uint64_t{1} << 62), 1 << 30, 20);
        EXPECT_THAT(picture, ::testing::Not(::testing::HasSubstr("sda1")));
        EXPECT_LT(picture.size(), 200u);
    }
    EXPECT_LT(disk_picture(disk_with(1 << 20, uint64_t{1} << 62), 1 << 30, 20).size(), 200u);
}

}  // namespace
}  // namespace inspect::cli
