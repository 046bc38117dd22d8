// SPDX-License-Identifier: LGPL-2.1-or-later
//
// The arithmetic of LVM's extents, on a group as it is going to be.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include <inspect/resize.h>

namespace inspect {

uint64_t extents_of(const LogicalVolume& volume);
uint64_t free_extents(const VolumeGroup& group);

// How many extents a volume keeps when nothing of it may lie at or behind `limit` on that physical volume;
// what is cut is its end.
uint64_t extents_before(const LogicalVolume& volume, uint32_t physical_volume, uint64_t limit);
// How many it keeps when so many of that physical volume's are cut from its end; those of others that come
// after them go as well.
uint64_t extents_without(const LogicalVolume& volume, uint32_t physical_volume, uint64_t count);

// Of the physical volume: as near to its start as the end of what is in use can be brought. Plain volumes'
// extents can be moved, others' stay.
uint64_t least_end(const VolumeGroup& group, uint32_t physical_volume);
// How many extents of plain volumes lie at or behind `limit` of a physical volume, and how many before it are
// free.
uint64_t extents_behind(const VolumeGroup& group, uint32_t physical_volume, uint64_t limit);
uint64_t free_extents_before(const VolumeGroup& group, uint32_t physical_volume, uint64_t limit);
// Moves those behind the limit to those that are free; there must be enough.
void move_extents(VolumeGroup& group, uint32_t physical_volume, uint64_t limit);

// Takes extents from the volume's end, or adds free ones. As many as are wanted must be there.
void set_extents(VolumeGroup& group, LogicalVolume& volume, uint64_t extents);

// The volume that follows when its group grows or shrinks and the user said nothing: the only one that is
// plain and holds something else than swap space. nullptr: that isn't clear.
LogicalVolume* obvious_volume(VolumeGroup& group);

}  // namespace inspect
