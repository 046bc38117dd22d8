// SPDX-License-Identifier: GPL-2.0-or-later
//
// Disks that are files: what is on them, and what a spec of fstab means.
#include "disks.h"

#include <gtest/gtest.h>

#include <array>
#include <cstdlib>
#include <cstring>

#include "agent_harness.h"
#include "fields.h"

namespace inspect::agent {
namespace {

constexpr uint64_t kSize = 4 << 20;
constexpr char kSpec[] = "UUID=01234567-89ab-cdef-0123-456789abcdef";

// An ext2, and, as `member`, the half of a RAID 1 whose metadata (version 1.0: linux/raid/md_p.h, struct
// mdp_superblock_1) is behind it.
void make(const std::string& image, bool member) {
    write_text(image, "");
    std::filesystem::resize_file(image, kSize);
    ASSERT_EQ(std::system(("mke2fs -q -F -t ext2 -L half -U " + std::string(kSpec + 5) + " " + image +
                           " 3M >/dev/null 2>&1")
                              .c_str()),
              0);
    if (!member) return;
    constexpr uint64_t kAt = kSize / 512 - 16;
    std::array<uint8_t, 256> superblock{};
    store<le32>(superblock, 0, 0xa92b4efc);
    store<le32>(superblock, 4, 1);
    superblock[16] = 7;                 // of the array's UUID
    store<le32>(superblock, 72, 1);     // the level
    store<le64>(superblock, 80, kAt);   // sectors
    store<le32>(superblock, 92, 2);     // disks
    store<le64>(superblock, 136, kAt);  // data size
    store<le64>(superblock, 144, kAt);  // where this is
    uint64_t sum = 0;
    for (size_t i = 0; i < superblock.size(); i += 4) sum += load<le32>(superblock, i);
    store<le32>(superblock, 216, static_cast<uint32_t>(sum + (sum >> 32)));
    Fd fd = open_file(image, O_RDWR);
    pwrite_full(fd.get(), std::as_bytes(std::span(superblock)), kAt * 512, "poke");
}

class DisksTest : public testing::Test {
  protected:
    void SetUp() override {
        if (std::system("command -v mke2fs >/dev/null 2>&1") != 0)
            GTEST_SKIP() << "e2fsprogs is not installed";
    }
    Volume* open(bool member, bool read_only) {
        make(directory_ / "image", member);
        disks_.add_file(directory_ / "image", 512);
        disks_.disks().back().read_only = read_only;
        return disks_.find("/dev/" + disks_.disks().back().name);
    }

    TemporaryDirectory directory_;
    Disks disks_;
};

TEST_F(DisksTest, HalfOfAMirrorIsNotWhatIsOnTheMirror) {
    Volume* half = open(true, false);
    ASSERT_TRUE(half);
    EXPECT_EQ(disks_.superblock(*half).type, "ext2") << "that is what it looks like";
    EXPECT_EQ(disks_.find_spec(kSpec), nullptr);
    EXPECT_EQ(disks_.find_spec("LABEL=half"), nullptr);
    EXPECT_EQ(disks_.certain_superblock(*half).type, "linux_raid_member");
    EXPECT_EQ(disks_.superblock(*half).type, "linux_raid_member");
}

// Then nothing can come between it and the other half, and it isn't worth the while.
TEST_F(DisksTest, HalfOfAMirrorThatIsOnlyReadWillDo) {
    Volume* half = open(true, true);
    ASSERT_TRUE(half);
    EXPECT_EQ(disks_.find_spec(kSpec), half);
    EXPECT_EQ(disks_.certain_superblock(*half).type, "ext2");
}

TEST_F(DisksTest, WhatIsNoMemberIsFound) {
    Volume* whole = open(false, false);
    ASSERT_TRUE(whole);
    EXPECT_EQ(disks_.find_spec(kSpec), whole);
    EXPECT_EQ(disks_.find_spec("LABEL=half"), whole);
    EXPECT_EQ(disks_.find_spec("UUID=11234567-89ab-cdef-0123-456789abcdef"), nullptr);
}

// Listed as what it is, whoever asked before.
TEST_F(DisksTest, ListsMembers) {
    open(true, true);
    const proto::FilesystemList list = disks_.list({"ext2"});
    ASSERT_EQ(list.filesystems_size(), 1);
    EXPECT_EQ(list.filesystems(0).type(), "linux_raid_member");
    EXPECT_FALSE(list.filesystems(0).mountable());
}

}  // namespace
}  // namespace inspect::agent
