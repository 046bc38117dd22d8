// SPDX-License-Identifier: GPL-2.0-or-later
#include "sparsify.h"

#include <gtest/gtest.h>

#include "failure.h"

namespace inspect::agent {
namespace {

TEST(SwapHeader, IsAPageOfTheGuest) {
    for (size_t page : {4096u, 16384u, 65536u}) {
        std::string start(65536, '\0');
        start.replace(page - 10, 10, "SWAPSPACE2");
        EXPECT_EQ(swap_header_length(start), page);
    }
    std::string suspended(65536, '\0');
    suspended.replace(4086, 9, "S1SUSPEND");
    EXPECT_EQ(swap_header_length(suspended), 0u);
    EXPECT_EQ(swap_header_length(""), 0u);
    EXPECT_EQ(swap_header_length(std::string(4095, 'x')), 0u);
}

std::string line(const std::string& group, const std::string& node, uint64_t first, uint64_t start,
                 uint64_t count, const std::string& volume, uint64_t missing = 0) {
    return "  LVM2_VG_NAME=" + group +
           "|LVM2_VG_EXTENT_SIZE=1048576|LVM2_VG_MISSING_PV_COUNT=" + std::to_string(missing) +
           "|LVM2_PV_NAME=" + node + "|LVM2_PE_START=" + std::to_string(first) +
           "|LVM2_PVSEG_START=" + std::to_string(start) + "|LVM2_PVSEG_SIZE=" + std::to_string(count) +
           "|LVM2_LV_NAME=" + volume + "|LVM2_PV_SIZE=104857600\n";
}

TEST(FreeStretches, AreWhatNoVolumeHas) {
    const std::string report = line("vg", "/dev/vda2", 1048576, 0, 8, "root") +
                               line("vg", "/dev/vda2", 1048576, 8, 2, "") +
                               line("vg", "/dev/vda2", 1048576, 10, 1, "[lvol0_pmspare]") +
                               line("other", "/dev/vdb", 1048576, 0, 100, "") +
                               line("vg", "/dev/vda3", 65536, 90, 10, "") + "garbage|=|LVM2_\n";
    const std::vector<FreeStretch> found = free_stretches(report, "vg");
    ASSERT_EQ(found.size(), 2u);
    EXPECT_EQ(found[0].node, "/dev/vda2");
    EXPECT_EQ(found[0].offset, 9u << 20);
    EXPECT_EQ(found[0].length, 2u << 20);
    EXPECT_EQ(found[1].node, "/dev/vda3");
    EXPECT_EQ(found[1].offset, 65536u + (90u << 20));
    EXPECT_TRUE(free_stretches("", "vg").empty());
}

TEST(FreeStretches, NumbersThatMakeNoSenseAreRefused) {
    EXPECT_THROW(free_stretches(line("vg", "/dev/vda2", 1048576, 0, 101, ""), "vg"), Failure);
    EXPECT_THROW(free_stretches(line("vg", "/dev/vda2", 0, 0, 1, ""), "vg"), Failure);
    EXPECT_THROW(free_stretches(line("vg", "/dev/vda2", 1048576, UINT64_MAX, 1, ""), "vg"), Failure);
    EXPECT_THROW(free_stretches(line("vg", "/dev/vda2", 1048576, 1, UINT64_MAX, ""), "vg"), Failure);
    EXPECT_THROW(free_stretches(line("vg", "/dev/vda2", 1048576, 0, 1, "", 1), "vg"), Failure);
}

}  // namespace
}  // namespace inspect::agent
