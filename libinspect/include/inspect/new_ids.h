// SPDX-License-Identifier: LGPL-2.1-or-later
//
// New identifiers for a guest's disks, and for all in the guest that names them, so that a clone can be
// attached beside its source.
//
//     NewIdsPlan plan;
//     { Session looking(read_only); plan = plan_new_ids(looking); }
//     Session session(writable);
//     apply_new_ids(session, plan);   // the guest's tree is mounted afterwards
//     session.commit();
#pragma once

#include <string>
#include <utility>
#include <vector>

#include <inspect/session.h>

namespace inspect {

struct IdChange {
    enum class Kind {
        kFilesystem,      // of a file system; a vfat's serial number
        kSwap,            // of swap space
        kPartitionTable,  // the disk's identifier in its GPT or MBR
        kPartition,       // PARTUUID; of an MBR it follows the disk's
        kLuks,
        kVolumeGroup,  // with its physical volumes'
        kPhysicalVolume,
    };
    Kind kind = Kind::kFilesystem;
    std::string device;  // "/dev/sda1"; of a volume group its name
    std::string type;    // "ext4", "gpt"...
    std::string old_id;
    std::string new_id;  // empty: LVM chooses it when it is done
    std::string kept;    // not empty: it stays, and why
};
std::string_view id_kind_name(IdChange::Kind kind) noexcept;  // "filesystem", "partition-table"...

// A file of the guest's that names identifiers.
struct IdFileChange {
    std::string path;
    struct Line {
        unsigned number;     // from 1
        std::string before;  // bytes
        std::string after;
    };
    std::vector<Line> lines;
};

struct NewIdsPlan {
    std::vector<IdChange> ids;
    std::vector<IdFileChange> files;
    std::vector<std::string> warnings;    // what may still name old identifiers and isn't changed
    std::vector<MountPoint> mountpoints;  // of the guest, as it was found; empty: there is none
};

// Replaces identifiers in a text: each where it stands by itself, not within a longer one. UUIDs and serial
// numbers are found in upper and lower case, and keep it; LVM's identifiers have a case of their own. Also
// found are UUIDs as systemd has them in names (with \x2d for each dash). A pure function.
std::string replace_ids(std::string_view text, const std::vector<std::pair<std::string, std::string>>& ids);

// Looks at the disks and at the guest on them, and plans. Nothing is changed; the session must be new. Disks
// without a guest are planned for, too. `kinds`: of these identifiers alone; empty: of all. Throws Error;
// kUnsupported when there are several guests.
NewIdsPlan plan_new_ids(Session& session, const std::vector<IdChange::Kind>& kinds = {});

// Does what was planned, in a new, writable session on the same disks, with the field's own tools; the
// guest's tree is mounted then. What is written reaches the images by commit(). Throws Error; then nothing
// must be committed.
void apply_new_ids(Session& session, const NewIdsPlan& plan);

}  // namespace inspect
