// SPDX-License-Identifier: GPL-2.0-or-later
//
// Whether a FAT may be resized: libparted goes by what its tables say.
#pragma once

#include <string_view>

#include "disks.h"
#include "programs.h"

namespace inspect::agent {

// Whether `output`, of `fsck.fat -n`, complains of nothing but a label that only the root directory has: so
// Windows leaves it, and mlabel.
bool fat_is_sound(std::string_view output);

// Throws Failure when fsck.fat finds errors on the volume, whose node must exist. Nothing is written.
void check_fat(Programs& programs, const Volume& volume);

}  // namespace inspect::agent
