// SPDX-License-Identifier: LGPL-2.1-or-later
#include "sysprep/id_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>

namespace inspect {
namespace {

FilesystemInfo volume(const std::string& device, const std::string& type, const std::string& uuid) {
    FilesystemInfo info;
    info.device = device;
    info.type = type;
    info.uuid = uuid;
    info.mountable = type != "swap" && type != "crypto_LUKS" && type != "LVM2_member";
    return info;
}

FilesystemInfo partition(uint32_t number, const std::string& type, const std::string& uuid,
                         const std::string& partition_uuid) {
    FilesystemInfo info = volume("/dev/sda" + std::to_string(number), type, uuid);
    info.partition_number = number;
    info.partition_uuid = partition_uuid;
    return info;
}

std::string counted() {
    static unsigned count = 0;
    char text[37];
    std::snprintf(text, sizeof text, "%08x-0000-4000-8000-000000000000", 0xabc00000U + ++count);
    return text;
}

const IdChange* find(const std::vector<IdChange>& ids, IdChange::Kind kind, const std::string& device) {
    for (const IdChange& id : ids)
        if (id.kind == kind && id.device == device) return &id;
    ADD_FAILURE() << device << " is not in the plan";
    return nullptr;
}

using Kind = IdChange::Kind;

TEST(PlanIds, AGptDisk) {
    IdFacts facts;
    facts.report.disks = {{"/dev/sda", 1 << 30, 512, "gpt", "D15C"}};
    facts.report.filesystems = {partition(1, "ext4", "u-ext", "p1"), partition(2, "vfat", "AB12-34CD", "p2"),
                                partition(14, "", "", "p14"), partition(3, "swap", "u-swap", "p3"),
                                partition(4, "ntfs", "1234567812345678", "p4")};
    const auto ids = plan_ids(facts, counted);
    EXPECT_EQ(ids.size(), 4U + 1 + 5);
    EXPECT_EQ(find(ids, Kind::kFilesystem, "/dev/sda1")->old_id, "u-ext");
    EXPECT_THAT(find(ids, Kind::kFilesystem, "/dev/sda2")->new_id, ::testing::MatchesRegex("ABC0-00.."));
    EXPECT_EQ(find(ids, Kind::kPartition, "/dev/sda14")->old_id, "p14");
    EXPECT_THAT(find(ids, Kind::kFilesystem, "/dev/sda4")->new_id,
                ::testing::MatchesRegex("ABC[0-9A-F]{13}"));
    EXPECT_EQ(find(ids, Kind::kPartitionTable, "/dev/sda")->old_id, "D15C");
    EXPECT_EQ(rewrite_ids("UUID=AB12-34CD", ids),
              "UUID=" + find(ids, Kind::kFilesystem, "/dev/sda2")->new_id);
    // Another draw is another one, and what stays stays.
    auto again = ids;
    again[0].kept = "a reason";
    draw_ids(again, counted);
    EXPECT_EQ(again[0].new_id, ids[0].new_id);
    for (size_t i = 1; i < ids.size(); ++i) EXPECT_NE(again[i].new_id, ids[i].new_id) << ids[i].device;
}

TEST(PlanIds, WindowsNamesItsDisk) {
    IdFacts facts;
    facts.report.disks = {{"/dev/sda", 1 << 30, 512, "gpt", "D15C"},
                          {"/dev/sdb", 1 << 30, 512, "gpt", "D15D"}};
    facts.report.filesystems = {partition(1, "ntfs", "0123456789ABCDEF", "p1"), partition(2, "", "", "p2")};
    facts.report.filesystems[1].partition_type = "e3c9e316-0b5c-4db8-817d-f92df00215ae";
    const auto ids = plan_ids(facts, counted);
    EXPECT_THAT(find(ids, Kind::kPartitionTable, "/dev/sda")->kept, ::testing::HasSubstr("Windows"));
    EXPECT_THAT(find(ids, Kind::kPartition, "/dev/sda1")->kept, ::testing::HasSubstr("Windows"));
    EXPECT_EQ(find(ids, Kind::kPartitionTable, "/dev/sdb")->kept, "");
}

TEST(PlanIds, ArraysThatTheGuestDoesNotBootFrom) {
    IdFacts facts;
    const std::string id = "01234567-89ab-cdef-0123-456789abcdef";
    FilesystemInfo array = volume("/dev/md0", "ext4", "u-home");
    array.kind = "md";
    array.volume_uuid = id;
    array.parts = {"/dev/sda3", "/dev/sda4"};
    facts.report.filesystems = {partition(3, "linux_raid_member", id, "p3"),
                                partition(4, "linux_raid_member", id, "p4"), array};
    facts.root = facts.boot = "/dev/sda1";
    auto ids = plan_ids(facts, counted);
    const IdChange* change = find(ids, Kind::kArray, "/dev/md0");
    EXPECT_EQ(change->kept, "");
    EXPECT_THAT(change->parts, ::testing::ElementsAre("/dev/sda3", "/dev/sda4"));
    EXPECT_EQ(rewrite_ids("ARRAY /dev/md0 UUID=01234567:89ab"
                          "cdef:01234567:89abcdef",
                          ids),
              "ARRAY /dev/md0 UUID=" + array_id(change->new_id));
    facts.root = "/dev/md0";
    EXPECT_NE(find(plan_ids(facts, counted), Kind::kArray, "/dev/md0")->kept, "");
}

TEST(PlanIds, NamesOfGroupsWhereTheyAreWanted) {
    IdFacts facts;
    FilesystemInfo root = volume("/dev/vg/root", "ext4", "u-root");
    root.kind = "lv";
    root.group = "vg";
    facts.report.filesystems = {root};
    facts.report.volume_groups = {{"vg", "u-vg", 1, 0, {}}};
    for (const IdChange& id : plan_ids(facts, counted)) EXPECT_NE(id.kind, Kind::kGroupName);
    facts.group_names = true;
    const auto ids = plan_ids(facts, counted);
    const IdChange* name = find(ids, Kind::kGroupName, "vg");
    EXPECT_THAT(name->new_id, ::testing::MatchesRegex("vg_abc..."));
    EXPECT_EQ(rewrite_ids("/dev/vg/root /dev/vg/other", ids), "/dev/" + name->new_id + "/root /dev/vg/other");
}

TEST(PlanIds, PartitionsOfAnMbrFollowTheDisks) {
    IdFacts facts;
    facts.report.disks = {{"/dev/sda", 1 << 30, 512, "dos", "0x1234abcd"}};
    facts.report.filesystems = {partition(1, "xfs", "u", "1234abcd-01")};
    const auto ids = plan_ids(facts, counted);
    const IdChange* table = find(ids, Kind::kPartitionTable, "/dev/sda");
    EXPECT_EQ("0x" + find(ids, Kind::kPartition, "/dev/sda1")->new_id, table->new_id + "-01");
    EXPECT_EQ(rewrite_ids("PARTUUID=1234abcd-01 1234abcd", ids),
              "PARTUUID=" + table->new_id.substr(2) + "-01 1234abcd");
}

TEST(PlanIds, WhatTheBootNeedsStays) {
    IdFacts facts;
    FilesystemInfo opened = volume("/dev/mapper/luks-l", "LVM2_member", "u-pv");
    opened.kind = "crypt";
    opened.parts = {"/dev/sda2"};
    FilesystemInfo root = volume("/dev/vg/root", "ext4", "u-root");
    root.kind = "lv";
    root.group = "vg";
    root.parts = {"/dev/mapper/luks-l"};
    facts.report.filesystems = {volume("/dev/sda2", "crypto_LUKS", "u-luks"),
                                volume("/dev/sda3", "crypto_LUKS", "u-data"), opened, root};
    facts.report.volume_groups = {{"vg", "u-vg", 1, 0, {"/dev/mapper/luks-l"}}};
    facts.root = facts.boot = "/dev/vg/root";
    auto ids = plan_ids(facts, counted);
    EXPECT_NE(find(ids, Kind::kLuks, "/dev/sda2")->kept, "");
    EXPECT_EQ(find(ids, Kind::kLuks, "/dev/sda3")->kept, "");
    EXPECT_THAT(find(ids, Kind::kVolumeGroup, "vg")->kept, ::testing::HasSubstr("bare disks"));
    EXPECT_EQ(find(ids, Kind::kPhysicalVolume, "/dev/mapper/luks-l")->old_id, "u-pv");

    // On a bare disk it changes, unless GRUB needs it.
    facts.report.filesystems[2].kind.clear();
    ids = plan_ids(facts, counted);
    EXPECT_EQ(find(ids, Kind::kVolumeGroup, "vg")->kept, "");
    facts.bios_grub = true;
    ids = plan_ids(facts, counted);
    EXPECT_NE(find(ids, Kind::kVolumeGroup, "vg")->kept, "");
}

TEST(PlanIds, OneThatSeveralHaveStays) {
    IdFacts facts;
    facts.report.filesystems = {volume("/dev/sda", "ext4", "u"), volume("/dev/sdb", "ext4", "u"),
                                volume("/dev/sdc", "btrfs", "b"), volume("/dev/sdd", "btrfs", "b")};
    const auto ids = plan_ids(facts, counted);
    ASSERT_EQ(ids.size(), 3U);
    EXPECT_EQ(ids[0].kept, "several devices have it");
    EXPECT_EQ(ids[1].kept, "several devices have it");
    // One file system on both.
    EXPECT_EQ(ids[2].kept, "");
    EXPECT_THAT(ids[2].parts, ::testing::ElementsAre("/dev/sdd"));
}

}  // namespace
}  // namespace inspect
