// SPDX-License-Identifier: GPL-2.0-or-later
#include "cli/make_filesystem.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace inspect::cli {
namespace {

using ::testing::HasSubstr;

std::string refusal(const char* type, const std::string& label) {
    try {
        require_label(filesystem_maker(type), label);
    } catch (const UsageError& error) {
        return error.message();
    }
    return "";
}

TEST(MakeFilesystem, KnowsHowLongALabelMayBe) {
    struct Limit {
        const char* type;
        size_t most;
    };
    for (const Limit& limit :
         {Limit{"ext2", 16}, Limit{"ext4", 16}, Limit{"xfs", 12}, Limit{"btrfs", 254}, Limit{"f2fs", 512},
          Limit{"vfat", 11}, Limit{"exfat", 11}, Limit{"ntfs", 32}, Limit{"swap", 15}}) {
        EXPECT_EQ(refusal(limit.type, std::string(limit.most, 'L')), "");
        EXPECT_THAT(refusal(limit.type, std::string(limit.most + 1, 'L')),
                    HasSubstr(std::to_string(limit.most)))
            << limit.type;
        EXPECT_EQ(refusal(limit.type, ""), "");
    }
}

TEST(MakeFilesystem, CountsALabelAsItsTypeDoes) {
    std::string umlauts, faces;
    for (int i = 0; i < 128; ++i) umlauts += "\u00fc";
    for (int i = 0; i < 17; ++i) faces += "\U0001f600";
    EXPECT_EQ(refusal("ntfs", umlauts.substr(0, 64)), "");
    EXPECT_THAT(refusal("ntfs", faces), HasSubstr("up to 32 characters, not 34"));
    EXPECT_THAT(refusal("ntfs", "\xff"), HasSubstr("UTF-8"));
    EXPECT_THAT(refusal("btrfs", umlauts), HasSubstr("up to 254 bytes, not 256"));
    for (const char* type : {"vfat", "exfat"}) EXPECT_THAT(refusal(type, "\u00fc"), HasSubstr("ASCII"));
    EXPECT_EQ(refusal("ext4", "\xff"), "");
    EXPECT_THAT(refusal("vfat", "a/b"), HasSubstr("can't have"));
}

TEST(MakeFilesystem, AsksForInodesForAllThatComes) {
    constexpr uint64_t kMiB = 1 << 20;
    EXPECT_EQ(ext_inodes(500'000, 0, 0), 500'064u);
    EXPECT_EQ(ext_inodes(3, 0, 0), 67u);
    // Room besides has as many as it would have by itself.
    EXPECT_EQ(ext_inodes(500'000, 10 * kMiB, 0), 502'560u);
    EXPECT_EQ(ext_inodes(3, 10, 0), 67u);
    // Of a size that is given: only where it has too few by itself.
    EXPECT_EQ(ext_inodes(3, 0, 64 * kMiB), 0u);
    EXPECT_EQ(ext_inodes(500'000, 0, 300 * kMiB), 500'064u);
    EXPECT_EQ(ext_inodes(500'000, 0, 2048 * kMiB), 500'064u);
}

}  // namespace
}  // namespace inspect::cli
