// SPDX-License-Identifier: GPL-2.0-or-later
//
// /etc/fstab, as fstab(5) describes it.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace inspect::agent {

struct FstabEntry {
    std::string spec;  // UUID=..., /dev/sda1...
    std::string path;  // the mount point
    std::string type;
    std::string options;
    bool has_option(std::string_view name) const;
    // Of NAME=VALUE among the options; empty: it isn't there.
    std::string option_value(std::string_view name) const;
};

// The entries that are file systems on block devices to be mounted at boot, in the order in which they can be
// mounted:
// "/" first, a directory before what is below it. Left out: swap, noauto, network and pseudo file systems,
// binds, paths that aren't absolute or climb by "..". Of two entries for one path the last counts, as it
// would be on top.
std::vector<FstabEntry> parse_fstab(std::string_view text);

// "\040" is a blank: the octal escapes of fstab(5).
std::string decode_octal(std::string_view text);

}  // namespace inspect::agent
