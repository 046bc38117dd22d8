// SPDX-License-Identifier: LGPL-2.1-or-later
#include "guest/wire_convert.h"

#include <string_view>

#include "guest/connection.h"
#include "guest/names.h"
#include "guest/printable.h"

namespace inspect {

namespace {

constexpr int kMaxItems = 1 << 16;  // of any list inside one message
constexpr size_t kMaxLabel = 4096;

ErrorKind to_kind(proto::ErrorKind kind) {
    switch (kind) {
        case proto::NOT_FOUND:
            return ErrorKind::kNotFound;
        case proto::UNSUPPORTED:
            return ErrorKind::kUnsupported;
        case proto::CORRUPT:
            return ErrorKind::kCorrupt;
        case proto::BUSY:
            return ErrorKind::kBusy;
        case proto::DENIED:
            return ErrorKind::kDenied;
        case proto::NO_SPACE:
            return ErrorKind::kNoSpace;
        case proto::ENGINE:
            return ErrorKind::kEngine;
        case proto::USAGE:
            return ErrorKind::kUsage;
        case proto::CANCELLED:
            return ErrorKind::kCancelled;
        case proto::INTERNAL:
            return ErrorKind::kInternal;
        default:
            throw ProtocolError("an error of kind " + std::to_string(static_cast<int>(kind)));
    }
}

std::string text(const std::string& wire) { return printable(wire); }

std::string label(const std::string& wire) {
    if (wire.size() > kMaxLabel) throw ProtocolError("a label of " + std::to_string(wire.size()) + " bytes");
    return wire;
}

template <typename List>
const List& bounded(const List& list) {
    if (list.size() > kMaxItems) throw ProtocolError("a list of " + std::to_string(list.size()));
    return list;
}

template <typename List>
std::vector<std::string> texts(const List& list) {
    std::vector<std::string> result;
    for (const std::string& line : bounded(list)) result.push_back(text(line));
    return result;
}

FilesystemInfo to_filesystem(const proto::Filesystem& wire) {
    FilesystemInfo info;
    info.device = text(wire.device());
    info.type = text(wire.type());
    info.label = label(wire.label());
    info.uuid = text(wire.uuid());
    info.size_bytes = wire.size_bytes();
    info.mountable = wire.mountable();
    info.whole_disk = wire.whole_disk();
    info.partition_number = wire.partition() ? wire.partition_number() : 0;
    info.partition_uuid = text(wire.partition_uuid());
    info.partition_label = label(wire.partition_label());
    info.partition_type = text(wire.partition_type());
    info.kind = text(wire.kind());
    info.volume_uuid = text(wire.volume_uuid());
    info.group = text(wire.group());
    info.degraded = wire.degraded();
    info.parts = texts(wire.parts());
    return info;
}

OperatingSystem to_operating_system(const proto::OperatingSystem& wire) {
    OperatingSystem os;
    os.root = text(wire.root());
    os.type = text(wire.type());
    os.distro = text(wire.distro());
    os.product_name = text(wire.product_name());
    os.product_variant = text(wire.product_variant());
    os.major_version = wire.major_version();
    os.minor_version = wire.minor_version();
    os.version_id = text(wire.version_id());
    os.build_id = text(wire.build_id());
    os.osinfo_id = text(wire.osinfo_id());
    os.architecture = text(wire.architecture());
    os.hostname = text(wire.hostname());
    os.machine_id = text(wire.machine_id());
    os.package_format = text(wire.package_format());
    os.package_management = text(wire.package_management());
    for (const auto& mount : bounded(wire.mountpoints())) {
        os.mountpoints.push_back({label(mount.path()), text(mount.device()), text(mount.options()),
                                  text(mount.type()), text(mount.spec())});
    }
    os.warnings = texts(wire.warnings());
    return os;
}

}  // namespace

Error to_error(const proto::Response::Failure& failure) {
    std::string message = printable(failure.message(), 16 << 10);
    if (message.empty()) message = "the appliance failed without saying why";
    return Error(to_kind(failure.kind()), std::move(message));
}

FileStat to_stat(const proto::FileStat& wire) {
    if (wire.mode() > 0xffff) throw ProtocolError("a file of mode " + std::to_string(wire.mode()));
    if (wire.size() > INT64_MAX) throw ProtocolError("a file of " + std::to_string(wire.size()) + " bytes");
    if (wire.link_target().size() > kMaxLinkTarget || wire.link_target().find('\0') != std::string::npos)
        throw ProtocolError("a symlink's target that can be none");
    FileStat stat;
    stat.mode = wire.mode();
    stat.inode = wire.inode();
    stat.links = wire.links();
    stat.uid = wire.uid();
    stat.gid = wire.gid();
    stat.size = wire.size();
    stat.blocks_512 = wire.blocks_512();
    stat.atime_ns = wire.atime_ns();
    stat.mtime_ns = wire.mtime_ns();
    stat.ctime_ns = wire.ctime_ns();
    stat.rdev_major = wire.rdev_major();
    stat.rdev_minor = wire.rdev_minor();
    stat.device = wire.device();
    stat.link_target = wire.link_target();
    return stat;
}

void to_wire(const FileStat& stat, proto::FileStat& wire) {
    wire.set_mode(stat.mode);
    wire.set_inode(stat.inode);
    wire.set_links(stat.links);
    wire.set_uid(stat.uid);
    wire.set_gid(stat.gid);
    wire.set_size(stat.size);
    wire.set_blocks_512(stat.blocks_512);
    wire.set_atime_ns(stat.atime_ns);
    wire.set_mtime_ns(stat.mtime_ns);
    wire.set_ctime_ns(stat.ctime_ns);
    wire.set_rdev_major(stat.rdev_major);
    wire.set_rdev_minor(stat.rdev_minor);
    wire.set_device(stat.device);
    wire.set_link_target(stat.link_target);
}

DirectoryEntry to_directory_entry(const proto::DirectoryEntry& wire) {
    if (!is_relative_path(wire.path())) throw ProtocolError("a directory entry " + quoted(wire.path()));
    if (wire.type() > 15) throw ProtocolError("a directory entry of type " + std::to_string(wire.type()));
    DirectoryEntry entry;
    entry.path = wire.path();
    entry.type = static_cast<uint8_t>(wire.type());
    if (wire.has_stat()) entry.stat = to_stat(wire.stat());
    entry.error = text(wire.error());
    return entry;
}

FilesystemReport to_filesystem_report(const proto::FilesystemList& wire) {
    FilesystemReport report;
    for (const proto::Disk& disk : bounded(wire.disks())) {
        report.disks.push_back({text(disk.device()), disk.size_bytes(), disk.sector_size(),
                                text(disk.partition_table()), text(disk.table_id())});
    }
    for (const proto::Filesystem& fs : bounded(wire.filesystems()))
        report.filesystems.push_back(to_filesystem(fs));
    for (const proto::VolumeGroup& group : bounded(wire.volume_groups())) {
        report.volume_groups.push_back({text(group.name()), text(group.uuid()), group.size_bytes(),
                                        group.free_bytes(), texts(group.physical_volumes())});
    }
    report.warnings = texts(wire.warnings());
    return report;
}

std::vector<OperatingSystem> to_operating_systems(const proto::InspectResult& wire) {
    std::vector<OperatingSystem> systems;
    for (const proto::OperatingSystem& os : bounded(wire.systems()))
        systems.push_back(to_operating_system(os));
    return systems;
}

}  // namespace inspect
