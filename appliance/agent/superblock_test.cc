// SPDX-License-Identifier: GPL-2.0-or-later
#include "superblock.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <string_view>

#include "agent_harness.h"

namespace inspect::agent {
namespace {

constexpr char kUuid[] = "01234567-89ab-cdef-0123-456789abcdef";

struct Case {
    const char* name;
    const char* make;  // the image's path follows
    const char* type;
    const char* uuid;
    const char* label;
    bool quick;  // known without libblkid
};

void PrintTo(const Case& c, std::ostream* out) { *out << c.name; }

uint64_t size_of(const Fd& fd) {
    struct stat status = {};
    EXPECT_EQ(::fstat(fd.get(), &status), 0);
    return static_cast<uint64_t>(status.st_size);
}

class SuperblockTest : public testing::TestWithParam<Case> {};

// What the quick way says must be what libblkid says.
TEST_P(SuperblockTest, IsRecognised) {
    const Case& c = GetParam();
    TemporaryDirectory directory;
    std::string image = directory / "image";
    write_text(image, "");
    std::filesystem::resize_file(image, 320 << 20);
    std::string tool = std::string(c.make).substr(0, std::string(c.make).find(' '));
    if (std::system(("command -v " + tool + " >/dev/null 2>&1").c_str()) != 0)
        GTEST_SKIP() << tool << " is not installed";
    ASSERT_EQ(std::system((std::string(c.make) + " " + image + " >/dev/null 2>&1").c_str()), 0);
    Fd fd = open_file(image, O_RDONLY);
    Superblock thorough = probe_superblock(fd.get(), 0, size_of(fd), true);
    EXPECT_EQ(thorough.type, c.type);
    EXPECT_EQ(thorough.uuid, c.uuid);
    EXPECT_EQ(thorough.label, c.label);
    EXPECT_FALSE(thorough.needs_recovery);
    uint8_t start[4096];
    pread_full(fd.get(), std::as_writable_bytes(std::span(start)), 0, "read");
    std::optional<Superblock> quick = quick_probe(std::span<const uint8_t, 4096>(start));
    ASSERT_EQ(quick.has_value(), c.quick);
    if (!quick) return;
    EXPECT_EQ(quick->type, thorough.type);
    EXPECT_EQ(quick->uuid, thorough.uuid);
    if (quick->has_label) {
        EXPECT_EQ(quick->label, thorough.label);
    }
}

INSTANTIATE_TEST_SUITE_P(
    Types, SuperblockTest,
    testing::Values(
        Case{"ext2", "mke2fs -q -F -t ext2 -L some-label -U 01234567-89ab-cdef-0123-456789abcdef", "ext2",
             kUuid, "some-label", true},
        Case{"ext3", "mke2fs -q -F -t ext3 -L sixteen-letters. -U 01234567-89ab-cdef-0123-456789abcdef",
             "ext3", kUuid, "sixteen-letters.", true},
        Case{"ext4", "mke2fs -q -F -t ext4 -U 01234567-89ab-cdef-0123-456789abcdef", "ext4", kUuid, "", true},
        Case{"ext4_4k",
             "mke2fs -q -F -t ext4 -O ^has_journal -b 4096 -L x -U 01234567-89ab-cdef-0123-456789abcdef",
             "ext4", kUuid, "x", true},
        Case{"xfs", "mkfs.xfs -q -f -L twelve-chars -m uuid=01234567-89ab-cdef-0123-456789abcdef", "xfs",
             kUuid, "twelve-chars", true},
        Case{"fat32", "mkfs.vfat -F 32 -n ESP -i 1234ABCD", "vfat", "1234-ABCD", "ESP", true},
        Case{"fat16", "mkfs.vfat -F 16 -i 00000042", "vfat", "0000-0042", "", true},
        Case{"swap", "mkswap -q -L swapped -U 01234567-89ab-cdef-0123-456789abcdef", "swap", kUuid, "swapped",
             false},
        Case{"nothing", "true", "", "", "", false}),
    [](const auto& param) { return std::string(param.param.name); });

TEST(Superblock, AJournalThatNeedsReplayIsSeen) {
    TemporaryDirectory directory;
    std::string image = directory / "image";
    write_text(image, "");
    std::filesystem::resize_file(image, 64 << 20);
    if (std::system(("mke2fs -q -F -t ext4 " + image + " && debugfs -w -R 'feature needs_recovery' " + image +
                     " >/dev/null 2>&1")
                        .c_str()) != 0)
        GTEST_SKIP() << "e2fsprogs is not installed";
    Fd fd = open_file(image, O_RDONLY);
    EXPECT_TRUE(probe_superblock(fd.get(), 0, size_of(fd), false).needs_recovery);
    EXPECT_TRUE(probe_superblock(fd.get(), 0, size_of(fd), true).needs_recovery);
}

// Its boot sector is FAT32's all but in name, so that old systems offer to read it.
TEST(Superblock, ABitLockerVolumeIsNoFat) {
    std::array<uint8_t, 4096> sector{};
    auto put = [&](size_t at, std::string_view text) { std::copy(text.begin(), text.end(), &sector[at]); };
    put(0, "\xeb\x58\x90MSWIN4.1");
    put(82, "FAT32   ");
    put(510, "\x55\xaa");
    ASSERT_TRUE(quick_probe(sector));
    EXPECT_EQ(quick_probe(sector)->type, "vfat");
    put(424, std::string_view("\x3b\xd6\x67\x49\x29\x2e\xd8\x4a\x83\x99\xf6\xa3\x39\xe3\xd0\x01", 16));
    EXPECT_FALSE(quick_probe(sector));
    put(424, std::string(16, '\0'));
    put(3, "-FVE-FS-");
    EXPECT_FALSE(quick_probe(sector));
}

TEST(Superblock, ShortOrEmptyDevicesHoldNothing) {
    TemporaryDirectory directory;
    for (size_t size : {size_t{0}, size_t{1}, size_t{1080}, size_t{4096}}) {
        write_text(directory / "image", std::string(size, '\0'));
        Fd fd = open_file(directory / "image", O_RDONLY);
        EXPECT_EQ(probe_superblock(fd.get(), 0, size_of(fd), false).type, "");
    }
}

}  // namespace
}  // namespace inspect::agent
