// SPDX-License-Identifier: GPL-2.0-or-later
//
// Whether a FAT may be resized, and whether what came of it is sound.
#pragma once

#include <functional>
#include <string_view>

#include "disks.h"
#include "programs.h"

namespace inspect::agent {

// Whether `output`, of `fsck.fat -n`, complains of nothing but a label that only the root directory has (so
// Windows leaves it, and mlabel), and a number of free clusters that isn't known.
bool fat_is_sound(std::string_view output);

// Throws Failure when there are errors on the volume, whose node must exist. fsck.fat looks for them, unless
// it would take too much memory. Nothing is written. `poll` as for verify_fat().
void check_fat(Programs& programs, const Volume& volume, const std::function<void()>& poll);

}  // namespace inspect::agent
