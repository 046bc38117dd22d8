// SPDX-License-Identifier: LGPL-2.1-or-later
//
// What the agent says of a disk, made a DiskState. It is not trusted: sizes that could overflow are refused.
#pragma once

#include <inspect/resize.h>

#include "protocol/insp.pb.h"

namespace inspect {

// Without the image's size and format, which are the caller's to know. Throws Error(kCorrupt).
DiskState to_disk_state(const proto::DiskSurvey& survey);

}  // namespace inspect
