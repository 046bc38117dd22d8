// SPDX-License-Identifier: LGPL-2.1-or-later
#include "vmm/guest_memory.h"

#include <gtest/gtest.h>

#include <inspect/error.h>

#include "vmm/layout.h"

namespace inspect {
namespace {

GuestMemory small_memory() { return GuestMemory(Mapping::anonymous(1u << 20, "test")); }

TEST(GuestMemory, AnswersWhatLiesWithin) {
    GuestMemory memory = small_memory();
    EXPECT_EQ(memory.at(0, 1u << 20)->size(), 1u << 20);
    EXPECT_EQ(memory.at(0xfffff, 1)->data(), memory.ram().data() + 0xfffff);
    EXPECT_TRUE(memory.at(0x100000, 0));  // an empty range at the end lies within
}

TEST(GuestMemory, RefusesWhatLiesOutsideOrOverflows) {
    GuestMemory memory = small_memory();
    EXPECT_FALSE(memory.at(0xfffff, 2));
    EXPECT_FALSE(memory.at(0x100000, 1));
    EXPECT_FALSE(memory.at(0x100001, 0));
    EXPECT_FALSE(memory.at(UINT64_MAX, 1));
    EXPECT_FALSE(memory.at(UINT64_MAX, UINT64_MAX));
    EXPECT_FALSE(memory.at(1, UINT64_MAX));
    EXPECT_FALSE(memory.at(16, UINT64_MAX - 15));
}

TEST(GuestMemory, ARangeOverTwoRegionsIsNoRange) {
    GuestMemory memory = small_memory();
    memory.add(1u << 20, Mapping::anonymous(kPageSize, "test"));  // adjacent in the guest, not on the host
    EXPECT_TRUE(memory.at(0xfffff, 1));
    EXPECT_TRUE(memory.at(0x100000, kPageSize));
    EXPECT_FALSE(memory.at(0xfffff, 2));
}

TEST(GuestMemory, RegionsMayNotOverlap) {
    GuestMemory memory = small_memory();
    EXPECT_THROW(memory.add(0xff000, Mapping::anonymous(kPageSize, "test")), Error);
    EXPECT_THROW(memory.add(UINT64_MAX - 10, Mapping::anonymous(kPageSize, "test")), Error);
}

TEST(GuestMemory, ThereIsAHoleBelowFourGiB) {
    GuestMemory memory(Mapping::anonymous(kLowMemoryEnd + kPageSize, "test"));  // reserved, not touched
    EXPECT_EQ(memory.regions().size(), 2u);
    EXPECT_TRUE(memory.at(kLowMemoryEnd - 1, 1));
    EXPECT_FALSE(memory.at(kLowMemoryEnd, 1));
    EXPECT_FALSE(memory.at(kMmioBase, 4));
    EXPECT_EQ(memory.at(kHighMemoryStart, 1)->data(), memory.ram().data() + kLowMemoryEnd);
    EXPECT_FALSE(memory.at(kHighMemoryStart, kPageSize + 1));
}

TEST(GuestMemory, CopiesValues) {
    GuestMemory memory = small_memory();
    EXPECT_TRUE(memory.write(0x100, uint32_t{0x12345678}));
    EXPECT_EQ(memory.read<uint16_t>(0x102), 0x1234);
    EXPECT_FALSE(memory.write(0xffffe, uint32_t{1}));
    EXPECT_FALSE(memory.read<uint32_t>(0xffffe));
}

TEST(Layout, PmemIsBehindAllRam) {
    EXPECT_EQ(pmem_address(64u << 20), 4 * kGiB);
    EXPECT_EQ(pmem_address(3 * kGiB), 4 * kGiB);
    EXPECT_EQ(pmem_address(3 * kGiB + kPageSize), 5 * kGiB);
    EXPECT_EQ(mmio_announcement(2),
              " virtio_mmio.device=4K@0xd0000000:5 virtio_mmio.device=4K@0xd0001000:10");
}

}  // namespace
}  // namespace inspect
