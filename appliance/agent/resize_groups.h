// SPDX-License-Identifier: GPL-2.0-or-later
//
// Volume groups as a plan to resize them wants to know them: which extents are whose.
#pragma once

#include <string>
#include <vector>

#include "disks.h"
#include "programs.h"
#include "protocol/insp.pb.h"

namespace inspect::agent {

// Of a report by lvm (parse_lvm_line() says of what form): a line for each physical volume and one for each
// segment of a logical volume. `members` are the volumes that LVM was shown. Contents are left out.
std::vector<proto::DiskSurvey::VolumeGroup> parse_groups(std::string_view report,
                                                         const std::vector<Volume*>& members);

// Asks lvm about the groups that these volumes belong to. Throws Failure.
std::vector<proto::DiskSurvey::VolumeGroup> report_groups(Programs& programs,
                                                          const std::vector<Volume*>& members);

}  // namespace inspect::agent
