// SPDX-License-Identifier: GPL-2.0-or-later
//
// What the programs of storage stacks print and what guests write about them, taken apart.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>

#include "crypttab.h"
#include "encrypted.h"
#include "fstab.h"
#include "lvm.h"
#include "md.h"

namespace inspect::agent {
namespace {

TEST(LvmReport, ListsWhatHoldsData) {
    LvmReport report = parse_lvm_report(
        "  LVM2_PV_NAME=/dev/vda2|LVM2_PV_UUID=p1|LVM2_PV_SIZE=26214400|LVM2_VG_NAME=vg|LVM2_VG_UUID=g1|"
        "LVM2_VG_SIZE=52428800|LVM2_VG_FREE=1048576\n"
        "  LVM2_PV_NAME=[unknown]|LVM2_PV_UUID=p2|LVM2_PV_SIZE=26214400|LVM2_VG_NAME=vg|LVM2_VG_UUID=g1|"
        "LVM2_VG_SIZE=52428800|LVM2_VG_FREE=1048576\n"
        "  LVM2_VG_NAME=vg|LVM2_VG_UUID=g1|LVM2_LV_NAME=root|LVM2_LV_UUID=l1|LVM2_LV_ATTR=-wi-------|"
        "LVM2_LV_DM_PATH=/dev/mapper/vg-root|LVM2_ORIGIN=\n"
        "  LVM2_VG_NAME=vg|LVM2_VG_UUID=g1|LVM2_LV_NAME=pool|LVM2_LV_UUID=l2|LVM2_LV_ATTR=twi-aotz--|"
        "LVM2_LV_DM_PATH=/dev/mapper/vg-pool|LVM2_ORIGIN=\n"
        "  LVM2_VG_NAME=vg|LVM2_VG_UUID=g1|LVM2_LV_NAME=snap|LVM2_LV_UUID=l3|LVM2_LV_ATTR=swi-a-s---|"
        "LVM2_LV_DM_PATH=/dev/mapper/vg-snap|LVM2_ORIGIN=root\n"
        "  3 logical volume(s) in volume group \"vg\" now active\n");
    ASSERT_EQ(report.groups.size(), 1U);
    EXPECT_EQ(report.groups[0].size, 52428800U);
    EXPECT_EQ(report.groups[0].free, 1048576U);
    ASSERT_EQ(report.physical.size(), 2U);
    EXPECT_EQ(report.physical[0].node, "/dev/vda2");
    EXPECT_EQ(report.physical[1].node, "");
    ASSERT_EQ(report.logical.size(), 2U) << "a pool is nobody's volume";
    EXPECT_EQ(report.logical[0].name, "root");
    EXPECT_FALSE(report.logical[0].snapshot);
    EXPECT_TRUE(report.logical[1].snapshot);
}

TEST(LvmReport, NonsenseIsNothing) {
    LvmReport report = parse_lvm_report("LVM2_\n|||\nLVM2_LV_NAME=x\n=\nLVM2_PV_NAME=|LVM2_PV_SIZE=many\n");
    EXPECT_TRUE(report.logical.empty());
    EXPECT_TRUE(report.groups.empty());
}

TEST(ArrayMember, OfBothKindsOfMetadata) {
    ArrayMember member = parse_array_member(
        "/dev/vda1:\n          Magic : a92b4efc\n        Version : 1.2\n     Array UUID : 0a:0b:0c:0d\n"
        "           Name : guest:home  (local to host guest)\n     Raid Level : raid5\n"
        "   Device Role : Active device 1\n");
    EXPECT_EQ(member.uuid, "0a:0b:0c:0d");
    EXPECT_EQ(member.name, "home");
    EXPECT_EQ(member.minor, -1);
    member = parse_array_member("           UUID : 1:2:3:4\n     Raid Level : raid1\nPreferred Minor : 3\n");
    EXPECT_EQ(member.uuid, "1:2:3:4");
    EXPECT_EQ(member.name, "");
    EXPECT_EQ(member.minor, 3);
}

TEST(Crypttab, NamesAndDevices) {
    auto entries = parse_crypttab(
        "# <name> <device>\nsda2_crypt UUID=1234 none luks\n\n  swap /dev/sda3 /dev/urandom swap\nalone\n"
        "a/b UUID=5\n");
    EXPECT_EQ(entries.size(), 2U);
    EXPECT_EQ(entries["/dev/mapper/sda2_crypt"], "UUID=1234");
    EXPECT_EQ(entries["/dev/mapper/swap"], "/dev/sda3");
}

TEST(Fstab, ValuesOfOptions) {
    FstabEntry entry{"UUID=1", "/home", "btrfs", "noatime,subvol=/@home,compress=zstd:1"};
    EXPECT_EQ(entry.option_value("subvol"), "/@home");
    EXPECT_EQ(entry.option_value("compress"), "zstd:1");
    EXPECT_EQ(entry.option_value("subvolid"), "");
    EXPECT_EQ(entry.option_value("noatime"), "");
}

TEST(Keys, GoToWhatTheyName) {
    proto::Wake wake;
    auto add = [&](const char* id, const char* secret) {
        proto::Wake::Key& key = *wake.add_keys();
        key.set_id(id);
        key.set_secret(secret);
    };
    add("/dev/vda2", "by device");
    add("ABCD-ef", "by uuid");
    add("all", "for all");
    Keys keys;
    keys.take(wake);
    EXPECT_EQ(wake.keys(0).secret(), "") << "the message's copy is gone";
    using Secrets = std::vector<std::string_view>;
    EXPECT_EQ(keys.for_volume({"/dev/sda2"}, "other"), (Secrets{"by device", "for all"}));
    EXPECT_EQ(keys.for_volume({"/dev/sda3"}, "abcd-EF"), (Secrets{"by uuid", "for all"}));
    EXPECT_EQ(keys.for_volume({"/dev/vg/lv"}, ""), (Secrets{"for all"}));
    keys.forget();
    EXPECT_TRUE(keys.for_volume({"/dev/sda2"}, "").empty());
}

TEST(Keys, TooLongOrTooMany) {
    proto::Wake wake;
    wake.add_keys()->set_secret(std::string((32 << 10) + 1, 'x'));
    EXPECT_THROW(Keys().take(wake), Failure);
    wake.Clear();
    for (int i = 0; i < 257; ++i) wake.add_keys();
    EXPECT_THROW(Keys().take(wake), Failure);
}

// A file with what a LUKS2 header says of memory.
uint64_t memory_of(const std::string& json, char version = 2) {
    std::string header(4096, '\0');
    header.replace(0, 8, std::string("LUKS\xba\xbe\0", 7) + version);
    header.replace(8, 8, std::string("\0\0\0\0\0\0\x40\0", 8));  // 16 KiB
    char name[] = "/tmp/luks-header-XXXXXX";
    int fd = ::mkstemp(name);
    ::unlink(name);
    std::string text = header + json;
    EXPECT_EQ(::write(fd, text.data(), text.size()), static_cast<ssize_t>(text.size()));
    uint64_t memory = luks_memory(fd, 0);
    ::close(fd);
    return memory;
}

TEST(Luks, TheMostMemoryOfItsKeyslots) {
    EXPECT_EQ(memory_of(R"({"keyslots":{"0":{"kdf":{"memory":1024}},"1":{"kdf":{"memory":4096}}}})"),
              uint64_t{4} << 20);
    EXPECT_EQ(memory_of(R"({"keyslots":{"0":{"kdf":{"type":"pbkdf2"}}}})"), 0U);
    EXPECT_EQ(memory_of(R"("memory":99999999999999)"), uint64_t{4} << 30);
    EXPECT_EQ(memory_of(R"("memory":)"), 0U);
    EXPECT_EQ(memory_of(R"("memory":1024)", 1), 0U);
}

}  // namespace
}  // namespace inspect::agent
