// SPDX-License-Identifier: GPL-2.0-or-later
//
// File systems that their own tools made, at an offset, and nonsense.
#include "geometry.h"

#include <gtest/gtest.h>

#include <cstdlib>

#include "agent_harness.h"
#include "base/units.h"

namespace inspect::agent {
namespace {

class GeometryTest : public testing::Test {
  protected:
    // False: the tool isn't installed.
    bool make(const std::string& tool, const std::string& options, uint64_t size) {
        if (std::system(("command -v " + tool + " >/dev/null 2>&1").c_str()) != 0) return false;
        write_text(image_, "");
        std::filesystem::resize_file(image_, size);
        const std::string command = tool + " " + options + " " + image_ + " >/dev/null 2>&1";
        EXPECT_EQ(std::system(command.c_str()), 0) << command;
        return true;
    }
    // The volume is larger than what is on it.
    Geometry read(const std::string& type) {
        constexpr uint64_t kOffset = 3 * kMiB;
        const std::string disk = directory_ / "disk";
        write_text(disk, std::string(kOffset, 'x') + read_text(image_) + std::string(kMiB, 'x'));
        const Fd fd = open_file(disk, O_RDONLY);
        return read_geometry(fd.get(), kOffset, std::filesystem::file_size(image_) + kMiB, type);
    }
    TemporaryDirectory directory_;
    std::string image_ = directory_ / "image";
};

TEST_F(GeometryTest, Ext4) {
    ASSERT_TRUE(make("mke2fs", "-q -F -t ext4 -b 1024", 8 * kMiB));
    const Geometry geometry = read("ext4");
    EXPECT_EQ(geometry.size, 8 * kMiB);
    EXPECT_EQ(geometry.granule, 1024u);
    ASSERT_TRUE(geometry.used);
    EXPECT_GT(*geometry.used, 0u);
    EXPECT_LT(*geometry.used, 8 * kMiB);
}

TEST_F(GeometryTest, Xfs) {
    if (!make("mkfs.xfs", "-q --unsupported", 32 * kMiB)) GTEST_SKIP() << "mkfs.xfs is not installed";
    EXPECT_EQ(read("xfs").size, 32 * kMiB);
    EXPECT_EQ(read("xfs").granule, 4096u);
}

TEST_F(GeometryTest, Swap) {
    ASSERT_TRUE(make("mkswap", "-q", 4 * kMiB));
    EXPECT_EQ(read("swap").size, 4 * kMiB);
}

TEST_F(GeometryTest, Luks) {
    if (!make("cryptsetup",
              "-q luksFormat --pbkdf pbkdf2 --pbkdf-force-iterations 1000 --key-file /etc/hostname",
              20 * kMiB))
        GTEST_SKIP() << "cryptsetup is not installed";
    EXPECT_EQ(read("crypto_LUKS").header, 16 * kMiB);
    EXPECT_EQ(read("crypto_LUKS").size, 21 * kMiB);
}

TEST_F(GeometryTest, NonsenseTakesAllOfTheVolume) {
    write_text(image_, std::string(kMiB, '\xff'));
    for (const char* type : {"ext4", "xfs", "btrfs", "ntfs", "swap", "crypto_LUKS", "vfat", ""}) {
        const Geometry geometry = read(type);
        if (std::string_view(type) != "btrfs" && std::string_view(type) != "crypto_LUKS") {
            EXPECT_EQ(geometry.size, 2 * kMiB) << type;
        }
    }
    write_text(image_, "");
    for (const char* type : {"ext4", "xfs", "btrfs", "ntfs", "swap", "crypto_LUKS"})
        EXPECT_GT(read(type).size, 0u) << type;
}

}  // namespace
}  // namespace inspect::agent
