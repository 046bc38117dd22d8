// SPDX-License-Identifier: LGPL-2.1-or-later
//
// New identifiers for a guest's disks, and for all in the guest that names them, so that a clone can be
// attached beside its source.
//
//     Session session(writable);
//     const NewIdsPlan plan = plan_new_ids(session, {});
//     apply_new_ids(session, plan, [&] { ... });  // what else is to be done to the guest's files
//     session.commit();
//
// For many clones of one guest the plan is made once, on the guest itself, and with_new_draw() gives each
// clone identifiers of its own.
#pragma once

#include <functional>
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
        kArray,      // md's
        kGroupName,  // a volume group's name
    };
    Kind kind = Kind::kFilesystem;
    std::string device;  // "/dev/sda1"; of a volume group its name
    std::string type;    // "ext4", "gpt"...
    std::string old_id;
    std::string new_id;  // empty: LVM chooses it when it is done
    std::string kept;    // not empty: it stays, and why
    // Of a file system on several devices the others; of an array its members; of a group's name the names of
    // its volumes.
    std::vector<std::string> parts = {};
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
    std::vector<std::string> warnings;  // what may still name old identifiers and isn't changed
    std::string root;                   // the device of the guest's root; empty: there is no guest
};

struct NewIdsWishes {
    std::vector<IdChange::Kind> kinds = {};  // of these identifiers alone; empty: of all but groups' names
    bool group_names = false;                // volume groups' names, too
};

// Replaces identifiers in a text: each where it stands by itself, not within a longer one. UUIDs and serial
// numbers are found in upper and lower case, and keep it; LVM's identifiers have a case of their own. Also
// found are UUIDs as systemd has them in names (with \x2d for each dash). A pure function.
std::string replace_ids(std::string_view text, const std::vector<std::pair<std::string, std::string>>& ids);

// Looks at the disks and at the guest on them, and plans. Nothing is changed; nothing may be mounted before,
// and the guest's tree is mounted afterwards, if there is a guest. Disks without one are planned for, too.
// Throws Error; kUnsupported when there are several guests.
NewIdsPlan plan_new_ids(Session& session, const NewIdsWishes& wishes);

// The same plan with other random identifiers: for another clone of the disks that it was made on.
NewIdsPlan with_new_draw(const NewIdsPlan& plan);

// Does what was planned, in a writable session on these disks or a copy of them, with the field's own tools
// where need be. `in_tree` is called when the guest's tree is mounted, for what else is to be done to it;
// afterwards nothing is mounted. What is written reaches the images by commit(). Throws Error; then nothing
// must be committed.
void apply_new_ids(Session& session, const NewIdsPlan& plan, const std::function<void()>& in_tree = {});

}  // namespace inspect
