// SPDX-License-Identifier: GPL-2.0-or-later
//
// A step of resizing for file systems that can't shrink: made anew, with what was in them.
#pragma once

#include "disks.h"
#include "resize.h"

namespace inspect::agent {

// Makes the XFS on the volume anew, `size` bytes large, with the same identity, features and contents. They
// are kept meanwhile on `room` from the byte `room_start` to its end, where nothing else may be. Throws
// Failure; the volume then holds nothing that could be used.
void recreate_xfs(const ResizeContext& context, Volume& volume, uint64_t size, const Disk& room,
                  uint64_t room_start);

}  // namespace inspect::agent
