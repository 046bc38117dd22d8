// SPDX-License-Identifier: GPL-2.0-or-later
#include "resize_groups.h"

#include <gtest/gtest.h>

namespace inspect::agent {
namespace {

TEST(ResizeGroups, ReportIsUnderstood) {
    Disk disk;
    Volume second{&disk, std::nullopt, "/dev/sda2", "/dev/vda2", 0};
    Volume third{&disk, std::nullopt, "/dev/sdb", "/dev/vdb", 0};
    const std::string report =
        "  "
        "LVM2_VG_NAME=vg|LVM2_PV_NAME=/dev/"
        "vda2|LVM2_VG_EXTENT_SIZE=4194304|LVM2_PE_START=1048576|LVM2_PV_PE_COUNT=100\n"
        "  "
        "LVM2_VG_NAME=vg|LVM2_PV_NAME=/dev/"
        "vdb|LVM2_VG_EXTENT_SIZE=4194304|LVM2_PE_START=1048576|LVM2_PV_PE_COUNT=50\n"
        "  "
        "LVM2_VG_NAME=|LVM2_PV_NAME=/dev/vdc|LVM2_VG_EXTENT_SIZE=0|LVM2_PE_START=1048576|LVM2_PV_PE_COUNT=0\n"
        "  "
        "LVM2_VG_NAME=vg|LVM2_VG_EXTENT_SIZE=4194304|LVM2_LV_NAME=root|LVM2_LV_ATTR=-wi-a-----|LVM2_LV_SIZE="
        "83886080|"
        "LVM2_SEGTYPE=linear|LVM2_SEG_PE_RANGES=/dev/vda2:0-9\n"
        "  "
        "LVM2_VG_NAME=vg|LVM2_VG_EXTENT_SIZE=4194304|LVM2_LV_NAME=root|LVM2_LV_ATTR=-wi-a-----|LVM2_LV_SIZE="
        "83886080|"
        "LVM2_SEGTYPE=linear|LVM2_SEG_PE_RANGES=/dev/vdb:5-14\n"
        "  "
        "LVM2_VG_NAME=vg|LVM2_VG_EXTENT_SIZE=4194304|LVM2_LV_NAME=fast|LVM2_LV_ATTR=-wi-a-----|LVM2_LV_SIZE="
        "16777216|"
        "LVM2_SEGTYPE=striped|LVM2_SEG_PE_RANGES=/dev/vda2:10-11 /dev/vdb:0-1\n"
        "  "
        "LVM2_VG_NAME=vg|LVM2_VG_EXTENT_SIZE=4194304|LVM2_LV_NAME=mirrored|LVM2_LV_ATTR=rwi-a-r---|LVM2_LV_"
        "SIZE=4194304|"
        "LVM2_SEGTYPE=raid1|LVM2_SEG_PE_RANGES=mirrored_rimage_0:0-0 mirrored_rimage_1:0-0\n"
        "  "
        "LVM2_VG_NAME=vg|LVM2_VG_EXTENT_SIZE=4194304|LVM2_LV_NAME=[mirrored_rimage_0]|LVM2_LV_ATTR=iwi-aor---"
        "|"
        "LVM2_LV_SIZE=4194304|LVM2_SEGTYPE=linear|LVM2_SEG_PE_RANGES=/dev/vda2:20-20\n"
        "garbage|LVM2_=|=\n";
    const auto groups = parse_groups(report, {&second, &third});
    ASSERT_EQ(groups.size(), 1u);
    const auto& group = groups[0];
    EXPECT_EQ(group.extent_size(), 4194304u);
    EXPECT_FALSE(group.missing());
    ASSERT_EQ(group.physical_volumes_size(), 2);
    EXPECT_EQ(group.physical_volumes(1).device(), "/dev/sdb");
    EXPECT_EQ(group.physical_volumes(0).extents(), 100u);
    ASSERT_EQ(group.logical_volumes_size(), 4);
    const auto& root = group.logical_volumes(0);
    EXPECT_EQ(root.device(), "/dev/vg/root");
    EXPECT_TRUE(root.plain());
    ASSERT_EQ(root.segments_size(), 2);
    EXPECT_EQ(root.segments(1).physical_volume(), 1u);
    EXPECT_EQ(root.segments(1).first_extent(), 5u);
    EXPECT_EQ(root.segments(1).extents(), 10u);
    EXPECT_FALSE(group.logical_volumes(1).plain());
    EXPECT_EQ(group.logical_volumes(1).segments_size(), 2);
    EXPECT_FALSE(group.logical_volumes(2).plain());
    EXPECT_FALSE(group.logical_volumes(3).plain());
    EXPECT_EQ(group.logical_volumes(3).segments_size(), 1);

    EXPECT_TRUE(parse_groups(report, {&second})[0].missing());
}

}  // namespace
}  // namespace inspect::agent
