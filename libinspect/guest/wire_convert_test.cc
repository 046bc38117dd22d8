// SPDX-License-Identifier: LGPL-2.1-or-later
#include "guest/wire_convert.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include "guest/connection.h"

namespace inspect {
namespace {

proto::DirectoryEntry entry(const std::string& path, uint32_t type = 8) {
    proto::DirectoryEntry wire;
    wire.set_path(path);
    wire.set_type(type);
    return wire;
}

TEST(WireConvert, StatGoesBothWays) {
    FileStat stat;
    stat.mode = S_IFLNK | 0777;
    stat.inode = 1ULL << 60;
    stat.links = 2;
    stat.uid = UINT32_MAX;
    stat.gid = 7;
    stat.size = INT64_MAX;
    stat.blocks_512 = 8;
    stat.atime_ns = -5;
    stat.mtime_ns = INT64_MAX;
    stat.ctime_ns = 1;
    stat.rdev_major = 8;
    stat.rdev_minor = 1;
    stat.device = 3;
    stat.link_target = "\xff/x";
    proto::FileStat wire;
    to_wire(stat, wire);
    FileStat back = to_stat(wire);
    proto::FileStat again;
    to_wire(back, again);
    EXPECT_EQ(wire.SerializeAsString(), again.SerializeAsString());
    EXPECT_EQ(back.link_target, stat.link_target);
    EXPECT_EQ(back.size, stat.size);
}

TEST(WireConvert, RefusesAStatThatIsNone) {
    proto::FileStat wire;
    wire.set_mode(0x10000);
    EXPECT_THROW(to_stat(wire), ProtocolError);
    wire.set_mode(S_IFREG);
    wire.set_size(1ULL << 63);
    EXPECT_THROW(to_stat(wire), ProtocolError);
    wire.set_size(0);
    wire.set_link_target(std::string("a\0b", 3));
    EXPECT_THROW(to_stat(wire), ProtocolError);
    wire.set_link_target(std::string(1 << 20, 'x'));
    EXPECT_THROW(to_stat(wire), ProtocolError);
}

TEST(WireConvert, RefusesNamesThatAreNone) {
    EXPECT_EQ(to_directory_entry(entry("a/b\n\xff")).path, "a/b\n\xff");
    for (const char* path : {"", ".", "..", "/", "/a", "a/", "a//b", "a/../b", "./a"})
        EXPECT_THROW(to_directory_entry(entry(path)), ProtocolError) << path;
    EXPECT_THROW(to_directory_entry(entry(std::string("a\0", 2))), ProtocolError);
    EXPECT_THROW(to_directory_entry(entry("a", 16)), ProtocolError);
}

TEST(WireConvert, MakesErrorsPrintable) {
    proto::Response::Failure failure;
    failure.set_kind(proto::CORRUPT);
    failure.set_message("\x1b[2J\xff is broken");
    EXPECT_EQ(to_error(failure).kind(), ErrorKind::kCorrupt);
    EXPECT_EQ(to_error(failure).message(), "\\x1b[2J\\xff is broken");
    failure.set_message(std::string(1 << 19, 'x'));
    EXPECT_LT(to_error(failure).message().size(), 20'000u);
    failure.clear_message();
    EXPECT_FALSE(to_error(failure).message().empty());
    failure.set_kind(static_cast<proto::ErrorKind>(99));
    EXPECT_THROW(to_error(failure), ProtocolError);
}

TEST(WireConvert, ReportsWhatTheDisksHold) {
    proto::FilesystemList list;
    proto::Disk& disk = *list.add_disks();
    disk.set_device("/dev/sda");
    disk.set_partition_table("gpt");
    proto::Filesystem& fs = *list.add_filesystems();
    fs.set_device("/dev/sda1\n");
    fs.set_label("\xff label");
    fs.set_partition_number(3);
    list.add_warnings("a\tb");
    FilesystemReport report = to_filesystem_report(list);
    EXPECT_EQ(report.disks[0].partition_table, "gpt");
    EXPECT_EQ(report.filesystems[0].device, "/dev/sda1\\n");
    EXPECT_EQ(report.filesystems[0].label, "\xff label");   // bytes, as they are
    EXPECT_EQ(report.filesystems[0].partition_number, 0u);  // not a partition
    EXPECT_EQ(report.warnings[0], "a\\tb");
    fs.set_label(std::string(10'000, 'x'));
    EXPECT_THROW(to_filesystem_report(list), ProtocolError);
    list.clear_filesystems();
    for (int i = 0; i < 70'000; ++i) list.add_filesystems();
    EXPECT_THROW(to_filesystem_report(list), ProtocolError);
}

TEST(WireConvert, ReportsOperatingSystems) {
    proto::InspectResult result;
    proto::OperatingSystem& os = *result.add_systems();
    os.set_root("/dev/sda1");
    os.set_product_name("Debian\x1b");
    os.set_major_version(12);
    proto::OperatingSystem::MountPoint& mount = *os.add_mountpoints();
    mount.set_path("/srv/\xff");
    mount.set_spec("UUID=1");
    auto systems = to_operating_systems(result);
    ASSERT_EQ(systems.size(), 1u);
    EXPECT_EQ(systems[0].product_name, "Debian\\x1b");
    EXPECT_EQ(systems[0].major_version, 12);
    EXPECT_EQ(systems[0].mountpoints[0].path, "/srv/\xff");
    EXPECT_EQ(systems[0].mountpoints[0].spec, "UUID=1");
}

}  // namespace
}  // namespace inspect
