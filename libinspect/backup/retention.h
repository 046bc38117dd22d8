// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Which snapshots a policy keeps, by restic's rules. A pure function.
#pragma once

#include <vector>

#include <inspect/backup.h>

namespace inspect {

// For each of `times` (nanoseconds since the epoch, newest first, of one group), whether it is kept. In local
// time, as people mean "daily".
std::vector<bool> apply_policy(const std::vector<int64_t>& times, const RetentionPolicy& policy);

}  // namespace inspect
