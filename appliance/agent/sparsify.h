// SPDX-License-Identifier: GPL-2.0-or-later
//
// Telling the disks what of them is not in use, volume by volume, as the host asks for it. docs/sparsify.md
// says how and why.
#pragma once

#include "protocol/insp.pb.h"
#include "resize.h"

namespace inspect::agent {

// Throw Failure: DENIED or UNSUPPORTED where the volume can't be written, and nothing was.
void sparsify_volume(const ResizeContext& context, const proto::SparsifyVolume& request,
                     proto::Sparsified& result);
void sparsify_group(const ResizeContext& context, const proto::SparsifyGroup& request,
                    proto::Sparsified& result);

// Where in a swap area its contents begin, in bytes: behind its header, which is a page of the guest's. 0: it
// is none. `start` is what the volume begins with, 64 KiB or more.
uint64_t swap_header_length(std::string_view start);

// The stretches of a physical volume, in bytes, that no logical volume has. `report` is what lvm pvs prints
// with kLvmReportForm and the fields of kFreeExtentFields.
struct FreeStretch {
    std::string node;
    uint64_t offset;
    uint64_t length;
};
inline constexpr char kFreeExtentFields[] =
    "vg_name,vg_extent_size,vg_missing_pv_count,pv_name,pe_start,pvseg_start,pvseg_size,lv_name,pv_size";
// Of this group alone. Throws Failure(CORRUPT) where the numbers make no sense, or a physical volume is
// missing.
std::vector<FreeStretch> free_stretches(std::string_view report, std::string_view group);

}  // namespace inspect::agent
