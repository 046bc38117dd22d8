// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <functional>
#include <string>
#include <vector>

#include <inspect/resize.h>

namespace inspect {

// The state of a disk, with the least sizes of these devices.
using DiskSurvey = std::function<DiskState(const std::vector<std::string>& minimum_of)>;

// A plan that is finished: asks again for the least sizes that it turns out to need. What shrinks in a volume
// group is known only when it is known how small partitions are to be. Throws what plan_resize() does;
// kUnsupported where a least size can't be found out.
ResizePlan plan_surveyed(const DiskSurvey& survey, const ResizeWishes& wishes);

}  // namespace inspect
