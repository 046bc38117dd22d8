// SPDX-License-Identifier: LGPL-2.1-or-later
#include "vmm/guest_disk.h"

#include <gtest/gtest.h>

#include <inspect/error.h>

#include "block/memory_device.h"

namespace inspect {
namespace {

struct GuestDiskTest : testing::Test {
    // 1000 bytes of 'x', a block and 488 bytes.
    GuestDiskTest() {
        auto memory = std::make_unique<MemoryDevice>(1000);
        memory->write(0, std::vector<std::byte>(1000, std::byte{'x'}));
        below = memory.get();
        disk = std::make_unique<GuestDisk>(std::move(memory), 512, false, status);
    }
    std::vector<std::byte> read(uint64_t offset, size_t length) {
        std::vector<std::byte> out(length, std::byte{'?'});
        disk->read(offset, out);
        return out;
    }
    VmmStatus status{};
    MemoryDevice* below = nullptr;
    std::unique_ptr<GuestDisk> disk;
};

TEST_F(GuestDiskTest, TheTailReadsAsZeros) {
    EXPECT_EQ(disk->size(), 1024u);
    const auto tail = read(512, 512);
    for (size_t i = 0; i < tail.size(); ++i) EXPECT_EQ(tail[i], i < 488 ? std::byte{'x'} : std::byte{0}) << i;
    EXPECT_EQ(read(1000, 24), std::vector<std::byte>(24, std::byte{0}));
    EXPECT_THROW(read(1000, 25), Error);
}

TEST_F(GuestDiskTest, ZerosAloneMayBeWrittenBehindTheEnd) {
    std::vector<std::byte> block(512, std::byte{'y'});
    EXPECT_THROW(disk->write(512, block), Error);
    EXPECT_EQ(read(512, 1)[0], std::byte{'x'}) << "a refused request changed something";
    std::fill(block.begin() + 488, block.end(), std::byte{0});
    disk->write(512, block);
    EXPECT_EQ(read(512, 512), block);
    disk->write_zeroes(512, 512, true);
    disk->discard(0, 1024);
    disk->flush();
    EXPECT_EQ(read(512, 512), std::vector<std::byte>(512, std::byte{0}));
    EXPECT_EQ(below->size(), 1000u);
}

TEST_F(GuestDiskTest, CountsAndRemembersTheFirstError) {
    read(0, 512);
    EXPECT_THROW(read(2048, 1), Error);
    EXPECT_THROW(disk->discard(4096, 1), Error);
    EXPECT_EQ(status.block_requests, 3u);
    EXPECT_EQ(status.block_bytes_read, 512u);
    EXPECT_EQ(status.block_errors, 2u);
    EXPECT_NE(std::string(status.block_error), "");
}

TEST_F(GuestDiskTest, ExtentsCoverTheWholeBlocks) {
    uint64_t at = 0;
    for (const Extent& extent : disk->extents(0, 1024)) {
        EXPECT_EQ(extent.offset, at);
        at += extent.length;
    }
    EXPECT_EQ(at, 1024u);
}

TEST_F(GuestDiskTest, ReadOnlyRefusesChanges) {
    GuestDisk fixed(std::make_unique<MemoryDevice>(512), 512, true, status);
    EXPECT_TRUE(fixed.read_only());
    EXPECT_THROW(fixed.write(0, std::vector<std::byte>(512)), Error);
    EXPECT_THROW(fixed.write_zeroes(0, 512, false), Error);
    EXPECT_THROW(fixed.discard(0, 512), Error);
    fixed.flush();
}

}  // namespace
}  // namespace inspect
