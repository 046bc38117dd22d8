// SPDX-License-Identifier: GPL-2.0-or-later
//
// The Inspect request: what operating systems are on the disks, as libguestfs would describe them.
#pragma once

#include "connection.h"
#include "disks.h"
#include "mounts.h"
#include "protocol/insp.pb.h"

namespace inspect::agent {

// Mounts every system's tree read-only aside, describes it, and unmounts it.
void inspect_systems(Disks& disks, Mounts& mounts, Connection& connection, proto::InspectResult& result);

}  // namespace inspect::agent
