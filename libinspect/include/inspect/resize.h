// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Resizing a disk in place: what a disk looks like, what is wished, and the plan that leads from one to the
// other.
//
//     inspect::Session session({.disks = {{.path = "guest.qcow2"}}, .writable = true});
//     inspect::ResizeWishes wishes;
//     wishes.size = inspect::SizeChange::parse("+1G");
//     inspect::ResizePlan plan = session.plan_resize(wishes);  // looks, and changes nothing
//     session.resize(plan);                                     // does it, aside
//     session.commit();                                         // puts it into the image, all or nothing
//
// Partitions keep their number, start, type, identifiers, names and flags; what lies in them is resized where
// it lies. Sizes and offsets are in bytes. Devices are named as in a Session: /dev/sda2; logical volumes
// /dev/VG/LV.
//
// plan_resize() is a pure function: it can be called without a disk. All are thread-safe.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <inspect/error.h>

namespace inspect {

// ---- what a disk looks like

// What fills a partition, a logical volume, an opened LUKS volume or a disk without a partition table.
struct DiskContent {
    std::string device;  // that it lies in
    std::string
        type;  // as blkid names it: ext4, xfs, swap, LVM2_member, crypto_LUKS...; empty: nothing known
    std::string label;  // bytes
    std::string uuid;
    uint64_t size_bytes = 0;       // what it takes of the device, from its start
    uint32_t granule_bytes = 512;  // its size is a multiple of this
    // As small as it can be made; absent: not looked for, or it can't be made smaller.
    std::optional<uint64_t> minimum_bytes = {};
    std::optional<uint64_t> used_bytes = {};
    // Not empty: why it must not be resized as it is, and what to do about that.
    std::string obstacle = {};
    uint64_t header_bytes = 0;            // crypto_LUKS: what lies before the plaintext
    std::vector<DiskContent> inner = {};  // crypto_LUKS: the plaintext, when a key opened it; at most one
    std::string volume_group = {};        // LVM2_member
    // Not empty: why it can't be resized here at all, though others of its type can be. "it is a FAT12".
    std::string fixed = {};
    // As large as it can be made, whatever its device has; absent: no such limit.
    std::optional<uint64_t> maximum_bytes = {};
    uint32_t devices = 1;  // btrfs: that it is on
};

struct DiskPartition {
    uint32_t number = 0;
    std::string device;
    uint64_t start = 0;
    uint64_t size = 0;
    std::string type;  // GPT: a GUID; MBR: "0x83"
    std::string uuid;
    std::string name;         // GPT, bytes
    uint64_t attributes = 0;  // GPT; MBR: 1 for the active one
    bool extended = false;    // it holds the logical ones
    bool logical = false;
    uint64_t reserved_from =
        0;  // a logical one's: where the record that describes it begins; others': the start
    DiskContent content = {};

    uint64_t end() const { return start + size; }
};

struct VolumeSegment {
    uint32_t physical_volume = 0;  // index in the group's
    uint64_t first_extent = 0;     // there
    uint64_t extents = 0;
};

struct LogicalVolume {
    std::string name;
    std::string device;  // "/dev/VG/LV"
    uint64_t size = 0;
    std::string kind;                          // "linear", "striped", "thin"...
    bool plain = false;                        // linear, without snapshots: it can be resized
    std::vector<VolumeSegment> segments = {};  // of a plain one, in order
    DiskContent content = {};
};

struct PhysicalVolume {
    std::string device;
    uint64_t data_start = 0;  // before its first extent
    uint64_t extents = 0;
};

struct VolumeGroup {
    std::string name;
    uint64_t extent_bytes = 0;
    bool missing = false;    // some of its physical volumes are on no disk of the session
    bool read_only = false;  // some of them may be on a disk that is only read
    std::vector<PhysicalVolume> physical_volumes = {};
    std::vector<LogicalVolume> logical_volumes = {};
};

enum class TableKind { kNone, kMbr, kGpt };

struct DiskState {
    std::string device = "/dev/sda";
    std::string format;     // of the image: "raw", "qcow2"...
    bool resizable = true;  // the image can have another size
    uint64_t size = 0;
    uint64_t size_unit = 512;  // what other sizes that it can have are a multiple of
    uint32_t sector_size = 512;
    TableKind table = TableKind::kNone;
    // Not empty: why the table must not be written as it is, and what to do about that.
    std::string table_obstacle = {};
    uint64_t reserved_at_end = 0;                // GPT: the backup
    std::vector<DiskPartition> partitions = {};  // by number
    DiskContent whole = {};                      // without a table: what the disk holds
    std::vector<VolumeGroup> volume_groups = {};
};

// ---- what is wished

// "2G", "+512M", "-10%", "150%": a new size, or the change of one. Units K, M, G, T, P are powers of 1024
// (KiB and the like are the same), b are bytes, s sectors of 512 bytes; without a unit bytes are meant.
struct SizeChange {
    enum class Kind { kTo, kBy };
    Kind kind = Kind::kTo;
    bool negative = false;  // kBy
    bool percent = false;   // of the size that it has
    uint64_t amount = 0;    // bytes; percent: thousandths of one

    // Throws Error(kUsage) for what isn't one, for 0 and for what is too big.
    static SizeChange parse(std::string_view text);
    // The new size. Throws Error(kUsage) when it is not above 0 or above 2^63.
    uint64_t apply(uint64_t size) const;
};

struct ResizeWishes {
    std::optional<SizeChange> size = {};  // of the image
    // Devices of partitions or plain logical volumes. What is in them follows.
    std::vector<std::string> expand = {};  // as far as there is room
    std::vector<std::string> shrink = {};  // as far as the image's new size wants
    struct To {
        std::string device;
        SizeChange size;
    };
    std::vector<To> resize = {};
    std::vector<std::string> remove = {};  // partitions
    // Logical volumes that take all room that their group has in the end.
    std::vector<std::string> expand_volumes = {};
    // Where only the image's size is given, the last partition of the disk, or its file system where there is
    // no table, follows with all that is in it. False: only the image and its table change.
    bool follow = true;
    bool contents = true;  // false: what is in a partition that grows stays as it is
    // NTFS is resized even if it is marked to be checked, as it is after each resize until Windows has run.
    bool ntfs_force = false;
    // What can't be made smaller (XFS) is made anew in the size, with all that was in it. Only where the
    // image itself is resizable and doesn't grow: the contents are kept meanwhile behind its end, in the
    // session.
    bool recreate = false;
};

// ---- what is to be done

struct ResizeStep {
    enum class Kind {
        kCheck,           // the file system is checked
        kImage,           // the image gets its new size
        kTable,           // partitions get their new ends, removed ones go, a GPT's backup moves to the end
        kFilesystem,      // the file system gets its new size
        kRecreate,        // a file system that can't shrink is made anew, with its contents, UUID and label
        kSwap,            // swap space is made anew, with its UUID and label
        kLuks,            // the opened volume gets its device's new size
        kMoveExtents,     // what lies at the end of a physical volume goes to free extents of it
        kPhysicalVolume,  // of the same size: LVM is only told where its device ends now
        kLogicalVolume,
    };
    Kind kind;
    std::string device;
    std::string type = {};  // kCheck, kFilesystem: the file system's
    uint64_t old_size = 0;  // of what is resized
    uint64_t new_size = 0;
    uint64_t first_extent = 0;  // kMoveExtents: the first that is to be free, and all behind it
    std::string label = {};     // kSwap
    std::string uuid = {};
};

// "ext4 on /dev/sda1 grows from 2.0 GiB to 3.0 GiB"
std::string describe(const ResizeStep& step);

struct ResizePlan {
    DiskState before;
    DiskState after;
    std::vector<ResizeStep> steps;   // in the order in which they are done; none: nothing is to be done
    std::vector<std::string> notes;  // what did not follow, and why
    // Not empty: the plan is not finished, because it must be known how small these can be made
    // (DiskContent::minimum_bytes).
    std::vector<std::string> minimum_wanted;
};

// Throws Error, with the least or the most that is possible where a size isn't: kUsage (wishes that
// contradict each other or name something that isn't there), kNoSpace (too small or no room), kUnsupported,
// kDenied (LUKS without its key), kCorrupt.
ResizePlan plan_resize(const DiskState& state, const ResizeWishes& wishes);

}  // namespace inspect
