// SPDX-License-Identifier: LGPL-2.1-or-later
//
// How a guest lies in a snapshot: a directory of its name with a file a disk and guest.json, which says what
// the disks were. docs/backup-format.md describes it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace inspect::repository {

inline constexpr std::string_view kGuestRecordName = "guest.json";
inline constexpr std::string_view kDomainXmlName = "domain.xml";

// A file that the disk's image consisted of, as stat(2) saw it.
struct SourceFile {
    std::string path;
    uint64_t device = 0, inode = 0, size = 0;
    uint64_t modified_ns = 0, changed_ns = 0;  // since the epoch

    bool operator==(const SourceFile&) const = default;
};

struct DiskRecord {
    std::string file;    // its name in the snapshot: "disk0.raw"
    std::string source;  // what was given as its image
    std::string format;  // of the image: "qcow2"
    uint64_t size = 0;   // of the disk, bytes
    uint64_t sector_size = 512;
    std::vector<SourceFile> files;    // the image first
    uint64_t left_out_free = 0;       // bytes that the guest's file systems call free: zeros in the backup
    uint64_t left_out_swap = 0;       // of swap space: zeros as well
    bool changed_while_read = false;  // the image was being written: what is in the backup may make no sense
};

// What an appliance was asked about: a file system, swap space or volume group.
struct VolumeRecord {
    std::string device, type;  // "/dev/sda2", "xfs"; or the name of a volume group
    std::string left_out;      // "free", "swap", or "nothing"
    uint64_t bytes = 0;        // that it calls free
    std::string reason;        // for leaving out nothing
};

struct OsRecord {
    std::string root, type, distro, product_name, hostname;
    uint64_t major = 0, minor = 0;
};

struct GuestRecord {
    std::string name;
    uint64_t chunk_size = 0;  // bytes
    uint64_t zero_unit = 0;   // bytes of zeros that one blob stands for
    std::vector<DiskRecord> disks;
    std::vector<VolumeRecord> volumes;
    std::vector<OsRecord> systems;  // what an inspection found, if there was one

    uint64_t total_size() const;
};

std::string format_guest_record(const GuestRecord& record);
// Throws Error(kCorrupt); kUnsupported for a version that isn't known.
GuestRecord parse_guest_record(std::string_view text);

}  // namespace inspect::repository
