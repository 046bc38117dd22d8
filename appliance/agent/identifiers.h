// SPDX-License-Identifier: GPL-2.0-or-later
//
// SetIdentifiers: new identifiers for a clone's disks, without a program of the field's where that can be.
#pragma once

#include "disks.h"
#include "protocol/insp.pb.h"

namespace inspect::agent {

// Nothing may be mounted. What is known of the disks is to be forgotten afterwards. Throws Failure.
void set_identifiers(Disks& disks, const proto::SetIdentifiers& request, proto::IdentifiersSet& result);

}  // namespace inspect::agent
