// SPDX-License-Identifier: LGPL-2.1-or-later
//
// The planner against tables of cases: layouts of real guests, and what each wish makes of them.
#include "guest/resize/plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <inspect/resize.h>

#include "base/units.h"
#include "guest/resize/text.h"

namespace inspect {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

constexpr uint64_t kGptTail = 33 * 512;

DiskContent ext4(const std::string& device, uint64_t size, uint64_t minimum) {
    DiskContent content;
    content.device = device;
    content.type = "ext4";
    content.size_bytes = size;
    content.granule_bytes = 4096;
    content.minimum_bytes = minimum;
    return content;
}

DiskContent holding(const std::string& device, const std::string& type, uint64_t size) {
    DiskContent content;
    content.device = device;
    content.type = type;
    content.size_bytes = size;
    if (type == "swap") content.uuid = "5a4b";
    return content;
}

DiskPartition partition(uint32_t number, uint64_t start, uint64_t size, DiskContent content) {
    DiskPartition result;
    result.number = number;
    result.device = "/dev/sda" + std::to_string(number);
    result.start = result.reserved_from = start;
    result.size = size;
    content.device = result.device;
    if (content.size_bytes == 0) content.size_bytes = size;
    result.content = std::move(content);
    return result;
}

DiskState gpt(uint64_t size, std::vector<DiskPartition> partitions) {
    DiskState state;
    state.size = size;
    state.format = "raw";
    state.table = TableKind::kGpt;
    state.reserved_at_end = kGptTail;
    state.partitions = std::move(partitions);
    return state;
}

// As Debian's installer makes it: the root file system is last.
DiskState debian() {
    return gpt(2 * kGiB, {partition(1, kMiB, 64 * kMiB, holding("", "vfat", 0)),
                          partition(2, 65 * kMiB, 1982 * kMiB, ext4("", 1982 * kMiB, 500 * kMiB))});
}

// As Ubuntu's cloud image: the root is first by number and last on the disk, and ends where the disk does.
DiskState ubuntu() {
    const uint64_t root = 111 * kMiB;
    const uint64_t size = 2 * kGiB - root - kGptTail;
    return gpt(2 * kGiB, {partition(1, root, size, ext4("", size / 4096 * 4096, 600 * kMiB)),
                          partition(14, kMiB, 4 * kMiB, holding("", "", 0)),
                          partition(15, 5 * kMiB, 106 * kMiB, holding("", "vfat", 0))});
}

DiskState mbr_with_logical_swap() {
    DiskState state;
    state.size = 2 * kGiB;
    state.table = TableKind::kMbr;
    state.partitions = {partition(1, kMiB, 1023 * kMiB, ext4("", 1023 * kMiB, 300 * kMiB)),
                        partition(2, kGiB, kGiB, holding("", "", 0)),
                        partition(5, kGiB + kMiB, kGiB - kMiB, holding("", "swap", 0))};
    state.partitions[1].extended = true;
    state.partitions[2].logical = true;
    state.partitions[2].reserved_from = kGiB;
    return state;
}

// A physical volume with root and swap in it, 4 MiB extents; `extents` of root, then of swap, then free ones.
DiskState lvm(uint64_t root, uint64_t swap, uint64_t free, bool swap_first = false) {
    const uint64_t extent = 4 * kMiB;
    VolumeGroup group;
    group.name = "vg";
    group.extent_bytes = extent;
    const uint64_t all = root + swap + free;
    group.physical_volumes.push_back({"/dev/sda2", kMiB, all});
    auto add = [&](const std::string& name, uint64_t first, uint64_t count, DiskContent content) {
        LogicalVolume volume;
        volume.name = name;
        volume.device = content.device = "/dev/vg/" + name;
        volume.size = content.size_bytes = count * extent;
        volume.kind = "linear";
        volume.plain = true;
        volume.segments = {{0, first, count}};
        volume.content = std::move(content);
        group.logical_volumes.push_back(std::move(volume));
    };
    add("root", swap_first ? swap : 0, root, ext4("", 0, 400 * kMiB));
    if (swap) add("swap_1", swap_first ? 0 : root, swap, holding("", "swap", 0));
    const uint64_t size = kMiB + all * extent;
    DiskContent physical = holding("", "LVM2_member", size);
    physical.volume_group = "vg";
    DiskState state = gpt(66 * kMiB + size, {partition(1, kMiB, 64 * kMiB, holding("", "vfat", 0)),
                                             partition(2, 65 * kMiB, size, physical)});
    state.volume_groups.push_back(std::move(group));
    return state;
}

ResizeWishes sized(const std::string& size) {
    ResizeWishes wishes;
    wishes.size = SizeChange::parse(size);
    return wishes;
}
ResizeWishes resized(const std::string& device, const std::string& size) {
    ResizeWishes wishes;
    wishes.resize.push_back({device, SizeChange::parse(size)});
    return wishes;
}

std::vector<std::string> steps(const ResizePlan& plan) {
    std::vector<std::string> result;
    for (const ResizeStep& step : plan.steps) result.push_back(describe(step));
    return result;
}
const DiskPartition& number(const ResizePlan& plan, uint32_t wanted) {
    for (const DiskPartition& found : plan.after.partitions) {
        if (found.number == wanted) return found;
    }
    throw std::runtime_error("no such partition");
}

// The error that planning ends with.
std::string refusal(const DiskState& state, const ResizeWishes& wishes, ErrorKind kind) {
    try {
        plan_resize(state, wishes);
    } catch (const Error& error) {
        EXPECT_EQ(error_kind_name(error.kind()), error_kind_name(kind)) << error.message();
        return error.message();
    }
    ADD_FAILURE() << "it was planned";
    return {};
}

TEST(ResizePlan, LastPartitionFollowsTheImage) {
    const ResizePlan plan = plan_resize(debian(), sized("+1G"));
    EXPECT_THAT(steps(plan),
                ElementsAre("the image grows from 2.0 GiB to 3.0 GiB", "ext4 on /dev/sda2 is checked",
                            "the partition table of /dev/sda is written",
                            "ext4 on /dev/sda2 grows from 1.9 GiB to 2.9 GiB"));
    EXPECT_EQ(plan.after.size, 3 * kGiB);
    EXPECT_EQ(number(plan, 2).start, 65 * kMiB);
    EXPECT_EQ(number(plan, 2).end(), 3 * kGiB - kMiB);  // aligned; the backup table has its place behind it
    EXPECT_EQ(number(plan, 2).content.size_bytes, number(plan, 2).size);
    EXPECT_EQ(number(plan, 1).size, 64 * kMiB);
}

TEST(ResizePlan, RootThatIsFirstByNumberAndLastOnTheDisk) {
    const ResizePlan plan = plan_resize(ubuntu(), sized("3G"));
    EXPECT_EQ(number(plan, 1).start, 111 * kMiB);
    EXPECT_EQ(number(plan, 1).end(), 3 * kGiB - kMiB);
    EXPECT_EQ(number(plan, 14).size, 4 * kMiB);
    EXPECT_EQ(number(plan, 15).start, 5 * kMiB);
    ASSERT_EQ(plan.steps.size(), 4u);
    EXPECT_EQ(plan.steps[3].device, "/dev/sda1");

    const ResizePlan smaller = plan_resize(ubuntu(), sized("1G"));
    EXPECT_THAT(steps(smaller), ElementsAre("ext4 on /dev/sda1 is checked",
                                            "ext4 on /dev/sda1 shrinks from 1.9 GiB to 912.0 MiB",
                                            "the partition table of /dev/sda is written",
                                            "the image shrinks from 2.0 GiB to 1.0 GiB"));
    EXPECT_EQ(number(smaller, 1).end(), kGiB - kMiB);
}

TEST(ResizePlan, ImageAloneWhenNothingIsToFollow) {
    ResizeWishes wishes = sized("+1G");
    wishes.follow = false;
    EXPECT_THAT(
        steps(plan_resize(debian(), wishes)),
        ElementsAre("the image grows from 2.0 GiB to 3.0 GiB", "the partition table of /dev/sda is written"));
    EXPECT_THAT(plan_resize(debian(), {}).steps, IsEmpty());
    EXPECT_THAT(plan_resize(debian(), sized("2G")).steps, IsEmpty());
}

TEST(ResizePlan, MinimumIsAskedForOnlyWhereSomethingShrinks) {
    DiskState state = debian();
    state.partitions[1].content.minimum_bytes.reset();
    EXPECT_THAT(plan_resize(state, sized("+1G")).minimum_wanted, IsEmpty());
    const ResizePlan plan = plan_resize(state, sized("-1G"));
    EXPECT_THAT(plan.minimum_wanted, ElementsAre("/dev/sda2"));
    EXPECT_THAT(plan.steps, IsEmpty());
    EXPECT_EQ(plan.after.size, plan.before.size);
}

TEST(ResizePlan, LeastAndMostAreNamed) {
    EXPECT_THAT(refusal(debian(), sized("400M"), ErrorKind::kNoSpace),
                AllOf(HasSubstr("/dev/sda2 can't be made smaller than 500.0 MiB (524288000 bytes)"),
                      HasSubstr("the smallest --size is 566.0 MiB (593494016 bytes)")));
    EXPECT_THAT(steps(plan_resize(debian(), sized("593494016"))), ::testing::SizeIs(4));
    EXPECT_THAT(refusal(debian(), resized("/dev/sda2", "3G"), ErrorKind::kNoSpace),
                AllOf(HasSubstr("/dev/sda2 can't be made larger than"), HasSubstr("--size makes it larger")));
    EXPECT_THAT(refusal(debian(), resized("/dev/sda1", "+1M"), ErrorKind::kNoSpace),
                HasSubstr("than 64.0 MiB (67108864 bytes): /dev/sda2 begins there"));
    ResizeWishes alone = sized("1G");
    alone.follow = false;
    EXPECT_THAT(refusal(debian(), alone, ErrorKind::kNoSpace), HasSubstr("/dev/sda2 reaches beyond"));
}

TEST(ResizePlan, WhatCannotFollowIsSaid) {
    DiskState state = gpt(kGiB, {partition(1, kMiB, 64 * kMiB, holding("", "vfat", 0))});
    state.partitions[0].content.fixed = "it has 3 allocation tables";
    const ResizePlan plan = plan_resize(state, sized("+1G"));
    EXPECT_THAT(steps(plan), ElementsAre("the image grows from 1.0 GiB to 2.0 GiB",
                                         "the partition table of /dev/sda is written"));
    EXPECT_THAT(
        plan.notes,
        ElementsAre(HasSubstr("it holds vfat, which can't be resized here: it has 3 allocation tables")));
    ResizeWishes wishes;
    wishes.expand = {"/dev/sda1"};
    EXPECT_THAT(refusal(state, wishes, ErrorKind::kUnsupported), HasSubstr("--no-expand-content"));
    wishes.contents = false;
    EXPECT_EQ(number(plan_resize(state, wishes), 1).end(), 1023 * kMiB);
}

TEST(ResizePlan, FatGrowsAsFarAsItsTypeAllows) {
    DiskState state = gpt(kGiB, {partition(1, kMiB, 64 * kMiB, holding("", "vfat", 0))});
    DiskContent& fat = state.partitions[0].content;
    fat.maximum_bytes = 128 * kMiB;
    fat.minimum_bytes = 40 * kMiB;
    ResizePlan plan = plan_resize(state, resized("/dev/sda1", "100M"));
    EXPECT_THAT(steps(plan), ElementsAre(HasSubstr("checked"), HasSubstr("table"),
                                         HasSubstr("vfat on /dev/sda1 grows from 64.0 MiB to 100.0 MiB")));
    EXPECT_TRUE(plan.notes.empty());
    plan = plan_resize(state, resized("/dev/sda1", "500M"));
    EXPECT_EQ(number(plan, 1).content.size_bytes, 128 * kMiB);
    EXPECT_THAT(plan.notes, ElementsAre(HasSubstr("vfat on /dev/sda1 can't be made larger than 128.0 MiB")));
    plan = plan_resize(state, resized("/dev/sda1", "40M"));
    EXPECT_THAT(steps(plan), ElementsAre(HasSubstr("checked"), HasSubstr("vfat on /dev/sda1 shrinks"),
                                         HasSubstr("table")));
    EXPECT_THAT(refusal(state, resized("/dev/sda1", "39M"), ErrorKind::kNoSpace),
                HasSubstr("can't be made smaller than 40.0 MiB"));
}

TEST(ResizePlan, XfsGrowsAndDoesNotShrink) {
    DiskState state = debian();
    state.partitions[1].content.type = "xfs";
    EXPECT_THAT(steps(plan_resize(state, sized("+1G"))),
                ElementsAre(HasSubstr("the image"), HasSubstr("table"), HasSubstr("xfs on /dev/sda2 grows")));
    EXPECT_THAT(refusal(state, sized("-1G"), ErrorKind::kUnsupported), HasSubstr("XFS"));
}

// The kernel's limit.
TEST(ResizePlan, BtrfsIsNotMadeSmall) {
    DiskState state = gpt(130 * kMiB, {partition(1, kMiB, 128 * kMiB, holding("", "btrfs", 0))});
    EXPECT_THAT(refusal(state, sized("200M"), ErrorKind::kNoSpace), HasSubstr("256.0 MiB"));
    EXPECT_EQ(number(plan_resize(state, sized("300M")), 1).size, 298 * kMiB);
    state = gpt(kGiB, {partition(1, kMiB, 1022 * kMiB, holding("", "btrfs", 0))});
    state.partitions[0].content.minimum_bytes = 100 * kMiB;
    EXPECT_THAT(refusal(state, sized("200M"), ErrorKind::kNoSpace), HasSubstr("256.0 MiB"));
    EXPECT_EQ(number(plan_resize(state, sized("300M")), 1).size, 298 * kMiB);
}

TEST(ResizePlan, XfsIsMadeAnewWhereThatIsWished) {
    DiskState state = gpt(2 * kGiB, {partition(1, kMiB, 2046 * kMiB, holding("", "xfs", 0))});
    state.partitions[0].content.used_bytes = 700 * kMiB;
    EXPECT_THAT(refusal(state, sized("1G"), ErrorKind::kUnsupported), HasSubstr("--recreate"));
    ResizeWishes wishes = sized("1G");
    wishes.recreate = true;
    const ResizePlan plan = plan_resize(state, wishes);
    EXPECT_THAT(steps(plan), ElementsAre(HasSubstr("is made anew"), HasSubstr("partition table"),
                                         HasSubstr("the image shrinks")));
    EXPECT_EQ(plan.steps[0].new_size, 1022 * kMiB);
    wishes.size = SizeChange::parse("600M");
    EXPECT_THAT(refusal(state, wishes, ErrorKind::kNoSpace), HasSubstr("700.0 MiB"));
    state.partitions[0].content.used_bytes = 10 * kMiB;
    wishes.size = SizeChange::parse("200M");
    EXPECT_THAT(refusal(state, wishes, ErrorKind::kNoSpace), HasSubstr("300.0 MiB"));
}

TEST(ResizePlan, ObstaclesAreRefusedBeforeAnything) {
    DiskState state = debian();
    state.table_obstacle = "its two headers differ";
    EXPECT_THAT(refusal(state, sized("+1G"), ErrorKind::kUnsupported), HasSubstr("its two headers differ"));
    state.table = TableKind::kNone;
    state.partitions.clear();
    EXPECT_THAT(refusal(state, sized("+1G"), ErrorKind::kUnsupported), HasSubstr("its two headers differ"));
    state = debian();
    state.partitions[1].content.type = "ntfs";
    state.partitions[1].content.obstacle = "Windows is hibernated in it: start it and shut it down";
    EXPECT_THAT(refusal(state, sized("+1G"), ErrorKind::kUnsupported),
                AllOf(HasSubstr("hibernated"), HasSubstr("--no-follow")));
    EXPECT_THAT(refusal(state, sized("-1G"), ErrorKind::kUnsupported), HasSubstr("hibernated"));
    ResizeWishes alone = sized("+1G");
    alone.follow = false;
    EXPECT_THAT(steps(plan_resize(state, alone)),
                ElementsAre(HasSubstr("the image grows"), HasSubstr("partition table")));
    state.partitions[1].content = holding("/dev/sda2", "crypto_LUKS", 1982 * kMiB);
    EXPECT_THAT(refusal(state, sized("+1G"), ErrorKind::kDenied), HasSubstr("--key"));
    state = debian();
    state.resizable = false;
    EXPECT_THAT(refusal(state, sized("+1G"), ErrorKind::kUnsupported), HasSubstr("--size the size"));
    EXPECT_THAT(refusal(debian(), resized("/dev/sda7", "1G"), ErrorKind::kNotFound),
                HasSubstr("there is /dev/sda1, /dev/sda2"));
    ResizeWishes wishes = resized("/dev/sda2", "1G");
    wishes.expand = {"/dev/sda2"};
    EXPECT_THAT(refusal(debian(), wishes, ErrorKind::kUsage), HasSubstr("more than one size"));
    wishes = sized("+1G");
    wishes.shrink = {"/dev/sda2"};
    EXPECT_THAT(refusal(debian(), wishes, ErrorKind::kUsage), HasSubstr("no need to shrink"));
}

// A logical volume of the host's has whole extents.
TEST(ResizePlan, ImagesHaveTheSizesThatTheyCanHave) {
    DiskState state = debian();
    state.size_unit = 12 * kMiB;
    state.size = 2040 * kMiB;
    state.partitions[1] = partition(2, 65 * kMiB, 1974 * kMiB, ext4("", 1974 * kMiB, 500 * kMiB));
    EXPECT_EQ(plan_resize(state, sized("+1M")).after.size, 2052 * kMiB);
    EXPECT_EQ(plan_resize(state, sized("2050M")).after.size, 2052 * kMiB);
    EXPECT_EQ(plan_resize(state, sized("-1M")).after.size, 2028 * kMiB);
    EXPECT_THAT(plan_resize(state, sized("2040M")).steps, IsEmpty());
}

TEST(ResizePlan, RemovedPartitionsMakeRoom) {
    DiskState state = gpt(2 * kGiB, {partition(1, kMiB, kGiB, ext4("", kGiB, 300 * kMiB)),
                                     partition(2, kGiB + kMiB, 512 * kMiB, holding("", "swap", 0))});
    ResizeWishes wishes;
    wishes.remove = {"/dev/sda2"};
    wishes.expand = {"/dev/sda1"};
    const ResizePlan plan = plan_resize(state, wishes);
    EXPECT_EQ(plan.after.partitions.size(), 1u);
    EXPECT_EQ(number(plan, 1).end(), 2 * kGiB - kMiB);
    wishes.remove.clear();
    EXPECT_THAT(refusal(state, wishes, ErrorKind::kNoSpace), HasSubstr("/dev/sda2 begins at 1.0 GiB"));
}

// What would be gone with it is more than what is on it.
TEST(ResizePlan, PartsOfSomethingElseAreNotRemoved) {
    ResizeWishes wishes;
    wishes.remove = {"/dev/sda2"};
    DiskState state = lvm(400, 50, 0);
    EXPECT_THAT(refusal(state, wishes, ErrorKind::kUnsupported), HasSubstr("the volume group vg"));
    DiskContent luks = holding("/dev/sda2", "crypto_LUKS", state.partitions[1].size);
    luks.inner.push_back(state.partitions[1].content);
    state.partitions[1].content = luks;
    EXPECT_THAT(refusal(state, wishes, ErrorKind::kUnsupported), HasSubstr("the volume group vg"));
    state.partitions[1].content = holding("/dev/sda2", "linux_raid_member", state.partitions[1].size);
    EXPECT_THAT(refusal(state, wishes, ErrorKind::kUnsupported), HasSubstr("linux_raid_member"));
    state.partitions[1].content = holding("/dev/sda2", "btrfs", state.partitions[1].size);
    state.partitions[1].content.devices = 2;
    EXPECT_THAT(refusal(state, wishes, ErrorKind::kUnsupported), HasSubstr("btrfs file system on several"));
    state.partitions[1].content.devices = 1;
    EXPECT_EQ(plan_resize(state, wishes).after.partitions.size(), 1u);
    state.partitions[1].content = holding("/dev/sda2", "LVM2_member", state.partitions[1].size);
    EXPECT_EQ(plan_resize(state, wishes).after.partitions.size(), 1u);  // of no group
}

TEST(ResizePlan, GuestThatHibernatesIsLeftAlone) {
    DiskState state = lvm(400, 50, 0);
    state.volume_groups[0].logical_volumes[1].content.type = "swsuspend";
    EXPECT_THAT(refusal(state, sized("+1G"), ErrorKind::kUnsupported),
                AllOf(HasSubstr("the guest hibernates"), HasSubstr("/dev/vg/swap_1")));
    state = gpt(2 * kGiB, {partition(1, kMiB, kGiB, ext4("", kGiB, 300 * kMiB)),
                           partition(2, kGiB + kMiB, 512 * kMiB, holding("", "swsuspend", 0))});
    EXPECT_THAT(refusal(state, sized("+1G"), ErrorKind::kUnsupported), HasSubstr("/dev/sda2"));
    // Without it it starts afresh.
    ResizeWishes wishes;
    wishes.remove = {"/dev/sda2"};
    wishes.expand = {"/dev/sda1"};
    EXPECT_EQ(plan_resize(state, wishes).after.partitions.size(), 1u);
}

TEST(ResizePlan, SwapKeepsItsUuid) {
    DiskState state = gpt(kGiB, {partition(1, kMiB, 512 * kMiB, holding("", "swap", 0))});
    ResizeWishes wishes;
    wishes.expand = {"/dev/sda1"};
    const ResizePlan plan = plan_resize(state, wishes);
    ASSERT_EQ(plan.steps.size(), 2u);
    EXPECT_EQ(plan.steps[1].kind, ResizeStep::Kind::kSwap);
    EXPECT_EQ(plan.steps[1].uuid, "5a4b");
    // By itself it doesn't follow.
    EXPECT_THAT(plan_resize(state, sized("+1G")).notes, ElementsAre(HasSubstr("swap space")));
}

TEST(ResizePlan, ExtendedPartitionGoesWithItsLogicalOnes) {
    ResizeWishes wishes = sized("+1G");
    wishes.expand = {"/dev/sda5"};
    ResizePlan plan = plan_resize(mbr_with_logical_swap(), wishes);
    EXPECT_EQ(number(plan, 5).end(), 3 * kGiB);
    EXPECT_EQ(number(plan, 2).end(), 3 * kGiB);
    EXPECT_EQ(number(plan, 2).start, kGiB);
    wishes = sized("-512M");
    plan = plan_resize(mbr_with_logical_swap(), wishes);
    EXPECT_EQ(number(plan, 5).end(), 1536 * kMiB);
    EXPECT_EQ(number(plan, 2).end(), 1536 * kMiB);
    EXPECT_THAT(refusal(mbr_with_logical_swap(), resized("/dev/sda1", "+1M"), ErrorKind::kNoSpace),
                HasSubstr("/dev/sda2 begins there"));
    EXPECT_THAT(refusal(mbr_with_logical_swap(), resized("/dev/sda2", "+1M"), ErrorKind::kUsage),
                HasSubstr("extended"));
    DiskState broken = mbr_with_logical_swap();
    broken.partitions[2].size = 9 * kGiB;
    EXPECT_THAT(refusal(broken, sized("+1G"), ErrorKind::kCorrupt), HasSubstr("beyond the end of the disk"));
}

TEST(ResizePlan, MbrEndsAtTwoTebibytes) {
    DiskState state = mbr_with_logical_swap();
    state.partitions.resize(1);
    ResizePlan plan = plan_resize(state, sized("4T"));
    EXPECT_EQ(number(plan, 1).end(), uint64_t{2} << 40);
    state.sector_size = 4096;
    EXPECT_EQ(number(plan_resize(state, sized("4T")), 1).end(), uint64_t{4} << 40);
}

TEST(ResizePlan, WholeDiskFileSystem) {
    DiskState state;
    state.size = kGiB;
    state.whole = ext4("/dev/sda", kGiB, 100 * kMiB);
    EXPECT_THAT(steps(plan_resize(state, sized("2G"))),
                ElementsAre("the image grows from 1.0 GiB to 2.0 GiB", "ext4 on /dev/sda is checked",
                            "ext4 on /dev/sda grows from 1.0 GiB to 2.0 GiB"));
    EXPECT_THAT(
        steps(plan_resize(state, sized("512M"))),
        ElementsAre("ext4 on /dev/sda is checked", "ext4 on /dev/sda shrinks from 1.0 GiB to 512.0 MiB",
                    "the image shrinks from 1.0 GiB to 512.0 MiB"));
    EXPECT_THAT(refusal(state, sized("50M"), ErrorKind::kNoSpace), HasSubstr("100.0 MiB"));
    // What doesn't follow isn't cut off.
    ResizeWishes alone = sized("512M");
    alone.follow = false;
    EXPECT_THAT(refusal(state, alone, ErrorKind::kNoSpace),
                AllOf(HasSubstr("ext4 on /dev/sda reaches beyond the image's new size"),
                      HasSubstr("the smallest is 1.0 GiB (1073741824 bytes)")));
    state.whole.size_bytes = 500 * kMiB;
    EXPECT_THAT(steps(plan_resize(state, alone)), ElementsAre(HasSubstr("the image shrinks")));
    for (const char* type : {"LVM2_member", "crypto_LUKS", "zfs_member"}) {
        state.whole = holding("/dev/sda", type, kGiB);
        EXPECT_THAT(refusal(state, alone, ErrorKind::kNoSpace), HasSubstr("1.0 GiB"));
    }
    state.whole = holding("/dev/sda", "", kGiB);
    EXPECT_THAT(refusal(state, alone, ErrorKind::kUnsupported), HasSubstr("it is not known what is on it"));
}

// An opened volume on a disk without a table has the disk's new size before anything is planned.
TEST(ResizePlan, WholeDiskLuks) {
    DiskState state;
    state.size = kGiB;
    state.whole = holding("/dev/sda", "crypto_LUKS", kGiB);
    state.whole.header_bytes = 16 * kMiB;
    state.whole.inner.push_back(ext4("/dev/mapper/crypt-sda", 1008 * kMiB, 100 * kMiB));
    EXPECT_THAT(
        steps(plan_resize(state, sized("2G"))),
        ElementsAre("the image grows from 1.0 GiB to 2.0 GiB", "ext4 on /dev/mapper/crypt-sda is checked",
                    "the LUKS volume on /dev/sda grows from 1.0 GiB to 2.0 GiB",
                    "ext4 on /dev/mapper/crypt-sda grows from 1008.0 MiB to 2.0 GiB"));
    EXPECT_THAT(steps(plan_resize(state, sized("512M"))),
                ElementsAre("ext4 on /dev/mapper/crypt-sda is checked",
                            "ext4 on /dev/mapper/crypt-sda shrinks from 1008.0 MiB to 496.0 MiB",
                            "the LUKS volume on /dev/sda shrinks from 1.0 GiB to 512.0 MiB",
                            "the image shrinks from 1.0 GiB to 512.0 MiB"));
    // Made larger by other means.
    state.size = state.whole.size_bytes = 2 * kGiB;
    const std::vector<std::string> follows = {
        "ext4 on /dev/mapper/crypt-sda is checked",
        "ext4 on /dev/mapper/crypt-sda grows from 1008.0 MiB to 2.0 GiB"};
    const ResizePlan plan = plan_resize(state, sized("2G"));
    EXPECT_EQ(steps(plan), follows);
    EXPECT_EQ(plan.after.whole.inner[0].size_bytes, 2 * kGiB - 16 * kMiB);
    EXPECT_THAT(plan_resize(plan.after, sized("2G")).steps, IsEmpty());
    // The same in a partition.
    DiskContent luks = state.whole;
    luks.size_bytes = kGiB;
    DiskState parted = gpt(kGiB + kMiB + kGptTail, {partition(1, kMiB, kGiB, luks)});
    parted.partitions[0].content.inner[0].size_bytes = 500 * kMiB;
    ResizeWishes wishes;
    wishes.expand = {"/dev/sda1"};
    EXPECT_THAT(steps(plan_resize(parted, wishes)),
                ElementsAre("ext4 on /dev/mapper/crypt-sda is checked",
                            "ext4 on /dev/mapper/crypt-sda grows from 500.0 MiB to 1008.0 MiB"));
    parted.partitions[0].content.inner[0].size_bytes = 1008 * kMiB;
    EXPECT_THAT(refusal(parted, wishes, ErrorKind::kNoSpace), HasSubstr("there is no room behind"));
}

// Larger already, by lvextend or truncate: what is on it follows all the same, once.
TEST(ResizePlan, DiskThatWasMadeLargerByOtherMeans) {
    DiskState whole;
    whole.size = 2 * kGiB;
    whole.resizable = false;
    whole.whole = ext4("/dev/sda", kGiB, 100 * kMiB);
    EXPECT_THAT(steps(plan_resize(whole, sized("2G"))),
                ElementsAre("ext4 on /dev/sda is checked", "ext4 on /dev/sda grows from 1.0 GiB to 2.0 GiB"));
    EXPECT_THAT(refusal(whole, sized("3G"), ErrorKind::kUnsupported), HasSubstr("--write-mode=atomic"));
    whole.whole.size_bytes = 2 * kGiB;
    EXPECT_THAT(plan_resize(whole, sized("2G")).steps, IsEmpty());

    DiskState state = debian();
    EXPECT_THAT(plan_resize(state, sized("2G")).steps, IsEmpty());
    state.size = 3 * kGiB;
    const ResizePlan plan = plan_resize(state, sized("3G"));
    EXPECT_EQ(plan.after.partitions[1].end(), 3 * kGiB - kMiB);
    EXPECT_THAT(plan.steps, Not(IsEmpty()));
    EXPECT_THAT(plan_resize(plan.after, sized("3G")).steps, IsEmpty());

    // What can't follow is no matter when there is nothing to follow.
    state.partitions[1].content = holding("/dev/sda2", "swap", 1982 * kMiB);
    EXPECT_THAT(plan_resize(state, sized("3G")).notes, Not(IsEmpty()));
    state.size = 2 * kGiB;
    EXPECT_THAT(plan_resize(state, sized("2G")).notes, IsEmpty());
}

TEST(ResizePlan, LogicalVolumeFollows) {
    const ResizePlan plan = plan_resize(lvm(400, 50, 0), sized("+1G"));
    EXPECT_THAT(steps(plan), ElementsAre(HasSubstr("the image grows"), "ext4 on /dev/vg/root is checked",
                                         "the partition table of /dev/sda is written",
                                         HasSubstr("the physical volume /dev/sda2 grows"),
                                         "the logical volume /dev/vg/root grows from 1.6 GiB to 2.6 GiB",
                                         "ext4 on /dev/vg/root grows from 1.6 GiB to 2.6 GiB"));
    const VolumeGroup& group = plan.after.volume_groups[0];
    EXPECT_EQ(group.physical_volumes[0].extents, 450 + 256u);
    ASSERT_EQ(group.logical_volumes[0].segments.size(), 2u);
    EXPECT_EQ(group.logical_volumes[0].segments[1].first_extent, 450u);
    EXPECT_EQ(group.logical_volumes[0].size, 656 * 4 * kMiB);
    EXPECT_EQ(group.logical_volumes[1].size, 50 * 4 * kMiB);
}

TEST(ResizePlan, LogicalVolumeAtTheEndShrinks) {
    const ResizePlan plan = plan_resize(lvm(400, 50, 0, true), sized("-1G"));
    EXPECT_THAT(steps(plan),
                ElementsAre("ext4 on /dev/vg/root is checked",
                            "ext4 on /dev/vg/root shrinks from 1.6 GiB to 576.0 MiB",
                            "the logical volume /dev/vg/root shrinks from 1.6 GiB to 576.0 MiB",
                            HasSubstr("the physical volume /dev/sda2 shrinks"),
                            "the partition table of /dev/sda is written", HasSubstr("the image")));
    // Free extents go first.
    EXPECT_THAT(steps(plan_resize(lvm(100, 50, 300), sized("-1G"))),
                ElementsAre(HasSubstr("the physical volume /dev/sda2 shrinks"), HasSubstr("table"),
                            HasSubstr("the image")));
    EXPECT_THAT(refusal(lvm(400, 50, 0, true), sized("400M"), ErrorKind::kNoSpace),
                HasSubstr("ext4 on /dev/vg/root can't be made smaller than 400.0 MiB"));
}

TEST(ResizePlan, WhatLiesAtTheEndMovesToWhereThereIsRoom) {
    // As Debian's installer makes it: the root becomes smaller, and what it no longer has takes the swap.
    ResizePlan plan = plan_resize(lvm(400, 50, 0), sized("-1G"));
    EXPECT_THAT(steps(plan),
                ElementsAre("ext4 on /dev/vg/root is checked",
                            "ext4 on /dev/vg/root shrinks from 1.6 GiB to 576.0 MiB",
                            "the logical volume /dev/vg/root shrinks from 1.6 GiB to 576.0 MiB",
                            "200.0 MiB at the end of the physical volume /dev/sda2 move to its free extents",
                            HasSubstr("the physical volume /dev/sda2 shrinks"),
                            "the partition table of /dev/sda is written", HasSubstr("the image")));
    EXPECT_EQ(plan.steps[3].first_extent, 194u);
    const VolumeGroup& group = plan.after.volume_groups[0];
    ASSERT_EQ(group.logical_volumes[1].segments.size(), 1u);
    EXPECT_EQ(group.logical_volumes[1].segments[0].first_extent, 144u);
    EXPECT_EQ(group.logical_volumes[1].segments[0].extents, 50u);
    EXPECT_EQ(group.physical_volumes[0].extents, 194u);

    // Where there is room already nothing else has to become smaller; what crosses the limit moves in part.
    DiskState state = lvm(100, 50, 300);
    auto& volumes = state.volume_groups[0].logical_volumes;
    volumes[1].segments = {{0, 160, 50}};
    plan = plan_resize(state, sized("-1072M"));
    EXPECT_THAT(steps(plan),
                ElementsAre("112.0 MiB at the end of the physical volume /dev/sda2 move to its free extents",
                            HasSubstr("the physical volume"), HasSubstr("table"), HasSubstr("the image")));
    const auto& segments = plan.after.volume_groups[0].logical_volumes[1].segments;
    ASSERT_EQ(segments.size(), 2u);
    EXPECT_EQ(segments[0].first_extent, 160u);
    EXPECT_EQ(segments[0].extents, 22u);
    EXPECT_EQ(segments[1].first_extent, 100u);
    EXPECT_EQ(segments[1].extents, 28u);

    volumes[1].plain = false;
    EXPECT_THAT(refusal(state, sized("-1072M"), ErrorKind::kNoSpace),
                AllOf(HasSubstr("/dev/vg/swap_1 lies at its end"), HasSubstr("can't be moved")));
    EXPECT_THAT(refusal(lvm(400, 50, 0), sized("300M"), ErrorKind::kNoSpace),
                HasSubstr("ext4 on /dev/vg/root can't be made smaller than 400.0 MiB"));
    // A volume that is named may become smaller, and no other.
    ResizeWishes wishes = sized("-1G");
    wishes.shrink = {"/dev/vg/swap_1"};
    EXPECT_THAT(refusal(lvm(400, 50, 0), wishes, ErrorKind::kNoSpace), HasSubstr("there is no room"));
}

// Root lies behind 200 free extents: it moves there, and keeps what it has.
TEST(ResizePlan, FreeExtentsGoBeforeVolumes) {
    DiskState state = lvm(400, 0, 200);
    auto& root = state.volume_groups[0].logical_volumes[0];
    root.segments = {{0, 200, 400}};
    EXPECT_THAT(
        steps(plan_resize(state, sized("-400M"))),  // 100 extents
        ElementsAre(HasSubstr("400.0 MiB at the end of the physical volume /dev/sda2 move to its free"),
                    HasSubstr("the physical volume"), HasSubstr("table"), HasSubstr("the image")));
    // Of what lacks, and not more, it becomes smaller.
    const ResizePlan plan = plan_resize(state, sized("-1200M"));  // 300 extents
    EXPECT_EQ(plan.after.volume_groups[0].physical_volumes[0].extents, 300u);
    EXPECT_EQ(plan.after.volume_groups[0].logical_volumes[0].size, 300 * 4 * kMiB);
    EXPECT_THAT(steps(plan), ElementsAre(HasSubstr("checked"), HasSubstr("ext4 on /dev/vg/root shrinks"),
                                         HasSubstr("logical volume /dev/vg/root shrinks"),
                                         HasSubstr("800.0 MiB at the end"), HasSubstr("the physical volume"),
                                         HasSubstr("table"), HasSubstr("the image")));

    // What comes behind, on another disk, goes with it.
    state = lvm(400, 0, 0);
    VolumeGroup& group = state.volume_groups[0];
    group.physical_volumes.push_back({"/dev/sdb", kMiB, 50});
    group.logical_volumes[0].segments.push_back({1, 0, 50});
    group.logical_volumes[0].size = 450 * 4 * kMiB;
    EXPECT_EQ(plan_resize(state, sized("-400M")).after.volume_groups[0].logical_volumes[0].size,
              300 * 4 * kMiB);
}

// LVM notes how large its device is, and complains of one that is smaller.
TEST(ResizePlan, PhysicalVolumeIsToldOfLessThanAnExtent) {
    DiskState state = lvm(400, 50, 0);
    state.size += 3 * kMiB;
    state.partitions[1].size += 3 * kMiB;
    EXPECT_THAT(steps(plan_resize(state, sized("-2M"))),
                ElementsAre("the physical volume /dev/sda2 is told of its device's new end",
                            HasSubstr("table"), HasSubstr("the image")));
}

// The partition's least size leads to the question for the volume's.
TEST(ResizePlan, LeastSizesAreAskedForUntilAllAreKnown) {
    DiskState state = lvm(400, 50, 0);
    state.partitions[0].content = ext4("/dev/sda1", 64 * kMiB, 0);
    state.partitions[0].content.minimum_bytes.reset();
    LogicalVolume& root = state.volume_groups[0].logical_volumes[0];
    root.content.minimum_bytes.reset();
    ResizeWishes wishes = resized("/dev/sda1", "-8M");
    wishes.resize.push_back({"/dev/vg/root", SizeChange::parse("-100M")});
    std::vector<std::vector<std::string>> asked;
    const DiskSurvey survey = [&](const std::vector<std::string>& minimum_of) {
        asked.push_back(minimum_of);
        for (const std::string& device : minimum_of) {
            if (device == "/dev/sda1") state.partitions[0].content.minimum_bytes = kMiB;
            if (device == "/dev/vg/root") root.content.minimum_bytes = 400 * kMiB;
        }
        return state;
    };
    EXPECT_THAT(plan_surveyed(survey, wishes).steps, ::testing::SizeIs(6));
    EXPECT_THAT(asked,
                ElementsAre(IsEmpty(), ElementsAre("/dev/sda1"), ElementsAre("/dev/sda1", "/dev/vg/root")));
    try {
        plan_surveyed(
            [&](const std::vector<std::string>&) {
                state.partitions[0].content.minimum_bytes.reset();
                return state;
            },
            wishes);
        ADD_FAILURE() << "it was planned";
    } catch (const Error& error) {
        EXPECT_THAT(error.message(), HasSubstr("how small /dev/sda1 can be made"));
    }
}

// What has no effect is no success.
TEST(ResizePlan, WishesAboutVolumesThatDoNothing) {
    ResizeWishes wishes;
    wishes.expand_volumes = {"/dev/vg/root"};
    EXPECT_THAT(refusal(lvm(400, 50, 0), wishes, ErrorKind::kNoSpace), HasSubstr("has no extents"));
    wishes.expand_volumes = {"/dev/vg/root", "/dev/vg/swap_1"};
    EXPECT_THAT(refusal(lvm(400, 50, 10), wishes, ErrorKind::kNoSpace),
                AllOf(HasSubstr("/dev/vg/swap_1"), HasSubstr("has no extents")));
    wishes.expand_volumes = {"/dev/vg/root", "/dev/mapper/vg-root"};
    EXPECT_THAT(refusal(lvm(400, 50, 10), wishes, ErrorKind::kUsage), HasSubstr("more than one size"));
    wishes = sized("+1G");
    wishes.shrink = {"/dev/vg/root"};
    EXPECT_THAT(refusal(lvm(400, 50, 0), wishes, ErrorKind::kUsage), HasSubstr("no need to shrink"));
    wishes = sized("-400M");
    wishes.shrink = {"/dev/vg/root"};
    EXPECT_THAT(plan_resize(lvm(100, 50, 300), wishes).notes,
                ElementsAre(HasSubstr("/dev/vg/root stays as it is")));
    // A file system that doesn't fill its volume.
    DiskState state = lvm(400, 50, 0);
    state.volume_groups[0].logical_volumes[0].content.size_bytes = kGiB;
    wishes = {};
    wishes.expand_volumes = {"/dev/vg/root"};
    EXPECT_THAT(steps(plan_resize(state, wishes)),
                ElementsAre(HasSubstr("checked"), HasSubstr("ext4 on /dev/vg/root grows")));
}

TEST(ResizePlan, LogicalVolumesByName) {
    ResizeWishes wishes;
    wishes.expand_volumes = {"/dev/mapper/vg-root"};
    EXPECT_THAT(
        steps(plan_resize(lvm(100, 50, 300), wishes)),
        ElementsAre(HasSubstr("checked"), "the logical volume /dev/vg/root grows from 400.0 MiB to 1.6 GiB",
                    "ext4 on /dev/vg/root grows from 400.0 MiB to 1.6 GiB"));
    wishes.expand_volumes = {"/dev/vg/home"};
    EXPECT_THAT(refusal(lvm(100, 50, 300), wishes, ErrorKind::kNotFound),
                HasSubstr("there is no '/dev/vg/home'"));
    wishes.expand_volumes = {"/dev/sda1"};
    EXPECT_THAT(refusal(lvm(100, 50, 300), wishes, ErrorKind::kUsage), HasSubstr("is no logical volume"));
    // One gives, the other takes.
    wishes = resized("/dev/vg/swap_1", "-100M");
    wishes.expand = {"/dev/vg/root"};
    EXPECT_THAT(steps(plan_resize(lvm(400, 50, 0), wishes)),
                ElementsAre("ext4 on /dev/vg/root is checked",
                            "swap space on /dev/vg/swap_1 shrinks from 200.0 MiB to 100.0 MiB",
                            "the logical volume /dev/vg/swap_1 shrinks from 200.0 MiB to 100.0 MiB",
                            "the logical volume /dev/vg/root grows from 1.6 GiB to 1.7 GiB",
                            "ext4 on /dev/vg/root grows from 1.6 GiB to 1.7 GiB"));
    EXPECT_THAT(refusal(lvm(400, 50, 0), resized("/dev/vg/root", "+1G"), ErrorKind::kNoSpace),
                HasSubstr("can't be made larger than 1.6 GiB"));
    DiskState snapshot = lvm(400, 50, 300);
    snapshot.volume_groups[0].logical_volumes[0].plain = false;
    EXPECT_THAT(refusal(snapshot, resized("/dev/vg/root", "+100M"), ErrorKind::kUnsupported),
                HasSubstr("snapshots"));
    DiskState missing = lvm(400, 50, 0);
    missing.volume_groups[0].missing = true;
    EXPECT_THAT(refusal(missing, sized("+1G"), ErrorKind::kNotFound), HasSubstr("the other disks"));
    EXPECT_THAT(refusal(missing, resized("/dev/vg/root", "-100M"), ErrorKind::kNotFound),
                HasSubstr("the other disks"));
    missing = lvm(100, 50, 300);
    missing.volume_groups[0].missing = true;
    wishes = {};
    wishes.expand_volumes = {"/dev/vg/root"};
    EXPECT_THAT(refusal(missing, wishes, ErrorKind::kNotFound), HasSubstr("the other disks"));
    missing.volume_groups[0].missing = false;
    missing.volume_groups[0].read_only = true;
    EXPECT_THAT(refusal(missing, wishes, ErrorKind::kDenied), HasSubstr("only read"));
}

TEST(ResizePlan, LuksBetweenPartitionAndVolumeGroup) {
    DiskState state = lvm(400, 50, 0);
    DiskPartition& second = state.partitions[1];
    DiskContent physical = second.content;
    physical.device = "/dev/mapper/crypt-sda2";
    DiskContent luks = holding("/dev/sda2", "crypto_LUKS", second.size + 16 * kMiB);
    luks.header_bytes = 16 * kMiB;
    luks.inner.push_back(physical);
    second.content = luks;
    second.size += 16 * kMiB;
    state.size += 16 * kMiB;
    state.volume_groups[0].physical_volumes[0].device = physical.device;
    EXPECT_THAT(steps(plan_resize(state, sized("+1G"))),
                ElementsAre(HasSubstr("the image"), HasSubstr("checked"), HasSubstr("table"),
                            HasSubstr("the LUKS volume on /dev/sda2 grows"),
                            HasSubstr("the physical volume /dev/mapper/crypt-sda2 grows"),
                            HasSubstr("the logical volume /dev/vg/root grows"),
                            HasSubstr("ext4 on /dev/vg/root grows")));
    // The logical volume at the end gives the room.
    DiskState swap_first = state;
    swap_first.volume_groups = lvm(400, 50, 0, true).volume_groups;
    swap_first.volume_groups[0].physical_volumes[0].device = physical.device;
    EXPECT_THAT(steps(plan_resize(swap_first, sized("-1G"))),
                ElementsAre(HasSubstr("checked"), HasSubstr("ext4 on /dev/vg/root shrinks"),
                            HasSubstr("the logical volume /dev/vg/root shrinks"),
                            HasSubstr("the physical volume /dev/mapper/crypt-sda2 shrinks"),
                            HasSubstr("the LUKS volume on /dev/sda2 shrinks"), HasSubstr("table"),
                            HasSubstr("the image shrinks")));
    second.content.inner.clear();
    ResizeWishes wishes = sized("+1G");
    wishes.expand = {"/dev/sda2"};
    EXPECT_THAT(refusal(state, wishes, ErrorKind::kDenied), HasSubstr("--key"));
    EXPECT_THAT(refusal(state, sized("-1G"), ErrorKind::kUnsupported), HasSubstr("--key"));
}

}  // namespace
}  // namespace inspect
