// SPDX-License-Identifier: GPL-2.0-or-later
//
// Superblocks as mke2fs makes them; dumpe2fs says how much room for descriptors it reserved.
#include "ext_growth.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstdlib>

#include "agent_harness.h"
#include "base/units.h"

namespace inspect::agent {
namespace {

class ExtGrowth : public testing::Test {
  protected:
    bool grows(const std::string& options, uint64_t new_size) {
        write_text(image_, "");
        std::filesystem::resize_file(image_, 64 * kMiB);
        const std::string command = "MKE2FS_CONFIG=/dev/null mke2fs -q -F " + options + " " + image_;
        EXPECT_EQ(std::system(command.c_str()), 0) << command;
        const std::string text = read_text(image_).substr(1024, 1024);
        std::array<uint8_t, 1024> superblock;
        std::copy(text.begin(), text.end(), superblock.begin());
        return ext_grows_mounted(superblock, new_size);
    }
    TemporaryDirectory directory_;
    std::string image_ = directory_ / "image";
};

TEST_F(ExtGrowth, WithinTheReservedRoomForDescriptors) {
    // Groups of 8 MiB, 16 descriptors of 64 bytes in a block: 128 MiB for each block of them. mke2fs -E
    // resize reserves what takes it to that many blocks.
    const std::string options = "-t ext4 -b 1024 -O extent,64bit,resize_inode -E resize=1048576";
    EXPECT_TRUE(grows(options, 65 * kMiB));
    EXPECT_TRUE(grows(options, 1 * kGiB));
    EXPECT_FALSE(grows(options, 1 * kGiB + 129 * kMiB));
}

TEST_F(ExtGrowth, ReservesByDefault) {
    EXPECT_TRUE(grows("-t ext2 -b 4096 -O resize_inode", 3 * kGiB));
    EXPECT_TRUE(grows("-t ext4 -b 4096 -O extent,resize_inode,64bit,flex_bg", 3 * kGiB));
}

TEST_F(ExtGrowth, NotWithoutRoom) {
    EXPECT_FALSE(grows("-t ext4 -b 1024 -O extent,^resize_inode,64bit", 3 * kGiB));
    EXPECT_FALSE(grows("-t ext4 -b 1024 -O ^resize_inode,sparse_super2", 3 * kGiB));
    EXPECT_TRUE(grows("-t ext4 -b 1024 -O extent,^resize_inode,meta_bg,64bit", 3 * kGiB));
}

TEST_F(ExtGrowth, Nonsense) {
    std::array<uint8_t, 1024> superblock{};
    EXPECT_FALSE(ext_grows_mounted(superblock, kGiB));
    superblock.fill(0xff);
    EXPECT_FALSE(ext_grows_mounted(superblock, kGiB));
    superblock.fill(1);
    EXPECT_FALSE(ext_grows_mounted(superblock, UINT64_MAX));
}

}  // namespace
}  // namespace inspect::agent
