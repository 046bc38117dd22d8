// SPDX-License-Identifier: GPL-2.0-or-later
#include "cli/filesystem_check.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace inspect::cli {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

FilesystemInfo filesystem(const char* device, const char* type, const char* uuid, const char* kind = "",
                          std::vector<std::string> parts = {}) {
    FilesystemInfo info;
    info.device = device;
    info.type = type;
    info.uuid = uuid;
    info.kind = kind;
    info.parts = std::move(parts);
    info.mountable = info.type != "swap" && info.type != "LVM2_member";
    return info;
}

std::vector<std::string> chosen(const FilesystemReport& report,
                                const std::vector<std::string>& operands = {}) {
    std::vector<std::string> devices;
    for (const FilesystemInfo& info : filesystems_to_check(report, operands, {}))
        devices.push_back(info.device);
    return devices;
}

FilesystemReport with_btrfs() {
    FilesystemReport report;
    report.filesystems = {filesystem("/dev/sda1", "btrfs", "B"),
                          filesystem("/dev/sda2", "btrfs", "B"),
                          filesystem("/dev/sda3", "swap", "S"),
                          filesystem("/dev/sda4", "ext4", "E"),
                          filesystem("/dev/sda5", "iso9660", ""),
                          filesystem("/dev/sda6", "btrfs", "C"),
                          filesystem("btrfsvol:/dev/sda1/@", "btrfs", "B", "subvolume", {"/dev/sda1"}),
                          filesystem("btrfsvol:/dev/sda6/@", "btrfs", "C", "subvolume", {"/dev/sda6"})};
    return report;
}

TEST(FilesystemCheck, ABtrfsIsOneWhateverItHas) {
    EXPECT_THAT(chosen(with_btrfs()), ElementsAre("/dev/sda1", "/dev/sda4", "/dev/sda5", "/dev/sda6"));
    EXPECT_THAT(
        chosen(with_btrfs(), {"btrfsvol:/dev/sda6/@", "/dev/sda6", "/dev/sda2", "btrfsvol:/dev/sda1/@"}),
        ElementsAre("/dev/sda6", "/dev/sda2"));
    EXPECT_THAT(chosen({}), IsEmpty());
}

TEST(FilesystemCheck, OperandsMayHaveAnyName) {
    EXPECT_THAT(chosen(with_btrfs(), {"/dev/vda4", "/dev/sda4"}), ElementsAre("/dev/sda4"));
    auto error_of = [](const char* operand) {
        try {
            filesystems_to_check(with_btrfs(), {operand}, {});
        } catch (const Error& error) {
            return std::string(error_kind_name(error.kind())) + ": " + error.message();
        }
        return std::string();
    };
    EXPECT_THAT(error_of("/dev/sdb1"), HasSubstr("not-found: there is no /dev/sdb1"));
    EXPECT_THAT(error_of("btrfsvol:/dev/sda4/@"), HasSubstr("not-found"));
    EXPECT_THAT(error_of("/dev/vda3"), HasSubstr("unsupported: /dev/vda3 can't be checked: it is swap"));
    EXPECT_THAT(error_of("/dev/sda5"), HasSubstr("unsupported"));
}

TEST(FilesystemCheck, FindsADegradedArrayBelow) {
    FilesystemReport report;
    report.filesystems = {filesystem("/dev/sda1", "linux_raid_member", "1"),
                          filesystem("/dev/sda2", "linux_raid_member", "2"),
                          filesystem("/dev/md0", "LVM2_member", "3", "md", {"/dev/sda1"}),
                          filesystem("/dev/md1", "LVM2_member", "4", "md", {"/dev/sda2"}),
                          filesystem("/dev/vg/a", "ext4", "5", "lv", {"/dev/md0"}),
                          filesystem("/dev/vg/b", "ext4", "6", "lv", {"/dev/md1"})};
    report.filesystems[2].degraded = true;
    EXPECT_EQ(degraded_array(report, report.filesystems[2]), "/dev/md0");
    EXPECT_EQ(degraded_array(report, report.filesystems[4]), "/dev/md0");
    EXPECT_EQ(degraded_array(report, report.filesystems[5]), "");
    EXPECT_EQ(degraded_array(report, report.filesystems[0]), "");
    report.filesystems[2].parts = {"/dev/md0", "/dev/vg/b"};  // nonsense, which ends all the same
    EXPECT_EQ(degraded_array(report, report.filesystems[5]), "");
}

// One that was killed tells nothing about the file system.
TEST(FilesystemCheck, AKilledToolIsNoDamage) {
    EXPECT_EQ(verdict_of(0), Verdict::kSound);
    for (int code : {1, 2, 3, 4, 8, 12, 125, 255}) EXPECT_EQ(verdict_of(code), Verdict::kDamaged) << code;
    EXPECT_EQ(verdict_of(100), Verdict::kMarked);
    for (int code : {126, 127, 128 + 6, 128 + 9, 128 + 11})
        EXPECT_EQ(verdict_of(code), Verdict::kFailed) << code;
    EXPECT_THAT(failure_of(137),
                HasSubstr("signal 9: it may need more memory than the appliance has (--memory)"));
    EXPECT_THAT(failure_of(127), HasSubstr("could not be run"));
}

}  // namespace
}  // namespace inspect::cli
