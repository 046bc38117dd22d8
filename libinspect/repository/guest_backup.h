// SPDX-License-Identifier: LGPL-2.1-or-later
//
// A guest's backup in a repository: found by what the user calls it, and its disks.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "repository/guest_record.h"
#include "repository/repository.h"

namespace inspect::repository {

struct GuestBackup {
    Snapshot snapshot;
    std::optional<GuestRecord> record;  // none: it isn't a backup that insp made
    std::vector<TreeNode> disks;        // in the record's order; or the files of restic's snapshot, by path,
    std::vector<std::string> paths;     // the path of each in the snapshot
    std::string domain_xml;

    // "3f2a91bc of web-01 at 2026-03-01T13:05:06Z"
    std::string describe() const;
    std::string guest_name() const;
};

// The guest's name that a snapshot made by insp has ("/web-01" among its paths); empty for others.
std::string guest_name_of(const Snapshot& snapshot);

// "latest" (or nothing): the newest of all; an id or its first four digits or more; or a guest's name: its
// newest. Throws Error: kNotFound, kUsage (several ids begin so).
Snapshot find_snapshot(const std::vector<Snapshot>& snapshots, std::string_view name);

// Reads what is in it. Throws Error.
GuestBackup read_guest_backup(Repository& repository, const Snapshot& snapshot);

// A disk by its number from 0, its file's name or its path in the snapshot; nothing: the only one there is.
// Throws Error: kNotFound, kUsage (there are several).
size_t find_disk(const GuestBackup& backup, std::string_view name);

// The lengths of which a disk's chunks may be zeros, for DiskContents.
std::vector<uint64_t> zero_lengths(const GuestBackup& backup, size_t disk);

}  // namespace inspect::repository
