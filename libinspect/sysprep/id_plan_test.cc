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
    facts.report.disks = {{"/dev/sda", 1 << 30, 512, "gpt"}};
    facts.report.filesystems = {partition(1, "ext4", "u-ext", "p1"), partition(2, "vfat", "AB12-34CD", "p2"),
                                partition(14, "", "", "p14"), partition(3, "swap", "u-swap", "p3"),
                                partition(4, "ntfs", "1234567812345678", "p4")};
    facts.table_ids["/dev/sda"] = "D15C";
    const auto ids = plan_ids(facts, counted);
    EXPECT_EQ(ids.size(), 4U + 1 + 5);
    EXPECT_EQ(find(ids, Kind::kFilesystem, "/dev/sda1")->old_id, "u-ext");
    EXPECT_THAT(find(ids, Kind::kFilesystem, "/dev/sda2")->new_id, ::testing::MatchesRegex("ABC0-00.."));
    EXPECT_EQ(find(ids, Kind::kPartition, "/dev/sda14")->old_id, "p14");
    EXPECT_THAT(find(ids, Kind::kFilesystem, "/dev/sda4")->kept, ::testing::HasSubstr("ntfs"));
    EXPECT_EQ(find(ids, Kind::kPartitionTable, "/dev/sda")->old_id, "D15C");
    EXPECT_EQ(replacements(ids).size(), 9U);
}

TEST(PlanIds, PartitionsOfAnMbrFollowTheDisks) {
    IdFacts facts;
    facts.report.disks = {{"/dev/sda", 1 << 30, 512, "dos"}};
    facts.report.filesystems = {partition(1, "xfs", "u", "1234abcd-01")};
    facts.table_ids["/dev/sda"] = "0x1234abcd";
    const auto ids = plan_ids(facts, counted);
    const IdChange* table = find(ids, Kind::kPartitionTable, "/dev/sda");
    EXPECT_EQ("0x" + find(ids, Kind::kPartition, "/dev/sda1")->new_id, table->new_id + "-01");
    EXPECT_EQ(replacements(ids).size(), 2U);
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
    facts.report.filesystems = {volume("/dev/sda", "btrfs", "u"), volume("/dev/sdb", "btrfs", "u")};
    for (const IdChange& id : plan_ids(facts, counted)) EXPECT_EQ(id.kept, "several devices have it");
}

}  // namespace
}  // namespace inspect
