// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Names of volume groups in a guest's texts.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace inspect {

// As systemd has it in the names of units: each dash is \x2d. systemd.unit(5), "String Escaping for Inclusion
// in Unit Names".
std::string systemd_escaped(const std::string& name);

// Replaces the group's name where it is unmistakable: with one of its volumes' names (/dev/GROUP/VOLUME,
// rd.lvm.lv=GROUP/VOLUME, /dev/mapper/GROUP-VOLUME, GRUB's lvm/GROUP-VOLUME, the latter two with each dash
// doubled, and as systemd has paths in names), and after rd.lvm.vg=. A pure function.
std::string replace_group(std::string_view text, const std::string& old_name, const std::string& new_name,
                          const std::vector<std::string>& volumes);

// A text that grew or shrank is brought back to the length of GRUB's environment block, which is of a fixed
// size and filled up with '#', if `before` is one; else `after`. Where it doesn't fit it is left as it is.
std::string as_environment_block(const std::string& before, std::string after);

}  // namespace inspect
