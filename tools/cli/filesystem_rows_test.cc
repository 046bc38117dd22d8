// SPDX-License-Identifier: GPL-2.0-or-later
#include "cli/filesystem_rows.h"

#include <gtest/gtest.h>

namespace inspect::cli {
namespace {

FilesystemReport report() {
    FilesystemReport out;
    out.disks.push_back({"/dev/sda", 1 << 20, 512, "dos", {}});
    out.disks.push_back({"/dev/sdaa", 2 << 20, 512, "", {}});
    FilesystemInfo root;
    root.device = "/dev/sda1";
    root.type = "ext4";
    root.label = "my root";
    root.uuid = "U1";
    root.size_bytes = 524288;
    root.mountable = true;
    root.partition_number = 1;
    root.partition_uuid = "P1";
    root.partition_type = "0x83";
    FilesystemInfo swap;
    swap.device = "/dev/sda2";
    swap.type = "swap";
    swap.size_bytes = 1024;
    swap.partition_number = 2;
    swap.partition_type = "0x5";
    FilesystemInfo whole;
    whole.device = "/dev/sdaa";
    whole.size_bytes = 2 << 20;
    whole.whole_disk = true;
    out.filesystems = {root, swap, whole};
    return out;
}

std::vector<std::string> names(const std::vector<FilesystemRow>& rows) {
    std::vector<std::string> out;
    for (const FilesystemRow& row : rows) out.push_back(row.type + " " + row.name);
    return out;
}

using Names = std::vector<std::string>;

TEST(FilesystemRows, SelectionIsVirtFilesystems) {
    EXPECT_EQ(names(filesystem_rows(report(), {})), Names{"filesystem /dev/sda1"});
    EXPECT_EQ(names(filesystem_rows(report(), {.extra = true})),
              (Names{"filesystem /dev/sda1", "filesystem /dev/sda2", "filesystem /dev/sdaa"}));
    EXPECT_EQ(names(filesystem_rows(report(), {.filesystems = false, .partitions = true})),
              (Names{"partition /dev/sda1", "partition /dev/sda2"}));
    EXPECT_EQ(names(filesystem_rows(report(), {.filesystems = false, .block_devices = true})),
              (Names{"device /dev/sda", "device /dev/sdaa"}));
}

TEST(FilesystemRows, PartitionsKnowTheirDisk) {
    EXPECT_EQ(parent_device(report(), "/dev/sda1"), "/dev/sda");
    EXPECT_EQ(parent_device(report(), "/dev/sdaa1"), "/dev/sdaa");
    EXPECT_EQ(parent_device(report(), "/dev/sdb1"), "");
}

TEST(FilesystemRows, ShortAndLongFormats) {
    auto rows = filesystem_rows(report(), {.partitions = true});
    EXPECT_EQ(format_rows(rows, {}), "/dev/sda1\n/dev/sda1\n/dev/sda2\n");
    EXPECT_EQ(format_rows(rows, {.long_format = true, .human = true, .uuid = true, .mbr = true}),
              "Name       Type        VFS   Label    MBR  Size  Parent    UUID\n"
              "/dev/sda1  filesystem  ext4  my root  -    512K  -         U1\n"
              "/dev/sda1  partition   -     -        83   512K  /dev/sda  P1\n"
              "/dev/sda2  partition   -     -        05   1.0K  /dev/sda  -\n");
    EXPECT_EQ(format_rows(rows, {.long_format = true, .csv = true, .title = false}),
              "/dev/sda1,filesystem,ext4,\"my root\",524288,\n"
              "/dev/sda1,partition,,,524288,/dev/sda\n"
              "/dev/sda2,partition,,,1024,/dev/sda\n");
}

TEST(FilesystemRows, ALabelCannotPassForAnotherRow) {
    FilesystemReport hostile = report();
    hostile.filesystems[0].label = "x\n/dev/sda9";
    std::string text = format_rows(filesystem_rows(hostile, {}), {.long_format = true, .title = false});
    EXPECT_EQ(text, "/dev/sda1  filesystem  ext4  x\\n/dev/sda9  524288  -\n");
}

}  // namespace
}  // namespace inspect::cli
