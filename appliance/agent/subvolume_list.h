// SPDX-License-Identifier: GPL-2.0-or-later
//
// The subvolumes of btrfs file systems, in the list of what can be mounted.
#pragma once

#include "disks.h"
#include "mounts.h"
#include "protocol/insp.pb.h"

namespace inspect::agent {

// Adds the subvolumes of every btrfs to the list, behind what it has. Each file system is mounted for that,
// read-only and for a moment; one that can't be is named in the list's warnings.
void add_subvolumes(Disks& disks, Mounts& mounts, proto::FilesystemList& list);

}  // namespace inspect::agent
