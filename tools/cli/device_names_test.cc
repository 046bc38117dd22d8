// SPDX-License-Identifier: GPL-2.0-or-later
#include "cli/device_names.h"

#include <gtest/gtest.h>

namespace inspect::cli {
namespace {

TEST(DeviceNames, OfDisksAndPartitions) {
    for (const char* name : {"/dev/sda1", "/dev/vda1", "/dev/hda1", "/dev/xvda1", "vda1", "sda1"})
        EXPECT_EQ(usual_device_name(name), "/dev/sda1");
    EXPECT_EQ(usual_device_name("/dev/xvdaa"), "/dev/sdaa");
    for (const char* other : {"/dev/vd", "/dev/vda01", "/dev/vda1234", "/dev/vdabcd", "/dev/vda1x",
                              "/dev/vda/root", "/dev/md0", "/dev/mapper/vda1", "", "btrfsvol:/dev/vda1/@"})
        EXPECT_EQ(usual_device_name(other), other);
}

TEST(DeviceNames, OfWhatIsThere) {
    FilesystemReport report;
    auto add = [&](const char* device, const char* type) {
        FilesystemInfo info;
        info.device = device;
        info.type = type;
        report.filesystems.push_back(info);
    };
    add("/dev/sda1", "btrfs");
    add("/dev/sda2", "ext4");
    add("/dev/vg-a/home", "btrfs");
    add("/dev/md127", "ext4");
    const DeviceAliases aliases{{"/dev/mapper/vg--a-home", "/dev/vg-a/home"}, {"/dev/md/home", "/dev/md127"}};
    auto found = [&](const char* name) {
        const FilesystemInfo* info = find_device(report, name, aliases);
        return info ? info->device : "nothing";
    };
    EXPECT_EQ(found("/dev/vda2"), "/dev/sda2");
    EXPECT_EQ(found("/dev/mapper/vg--a-home"), "/dev/vg-a/home");
    EXPECT_EQ(found("/dev/md/home"), "/dev/md127");
    EXPECT_EQ(found("/dev/sda3"), "nothing");
    EXPECT_EQ(found("btrfsvol:/dev/vda1/@/home"), "/dev/sda1");
    EXPECT_EQ(found("btrfsvol:/dev/mapper/vg--a-home/@"), "/dev/vg-a/home");
    for (const char* wrong :
         {"btrfsvol:/dev/sda1", "btrfsvol:/dev/sda1/", "btrfsvol:/dev/sda2/@", "btrfsvol:", "btrfsvol:/"})
        EXPECT_EQ(found(wrong), "nothing") << wrong;
}

}  // namespace
}  // namespace inspect::cli
