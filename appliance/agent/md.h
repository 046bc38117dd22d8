// SPDX-License-Identifier: GPL-2.0-or-later
//
// Linux software RAID (md): starting an array from its members.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "programs.h"

namespace inspect::agent {

// What `mdadm --examine` says of one member.
struct ArrayMember {
    std::string uuid;  // of the array, as mdadm spells it: "a1b2c3d4:..."
    std::string name;  // without the host: "0", "data"; empty: none (metadata 0.90)
    int minor = -1;    // metadata 0.90: its preferred number
};
ArrayMember parse_array_member(std::string_view text);

struct StartedArray {
    std::string node;   // "/dev/md127"
    std::string level;  // "raid1"
    bool degraded = false;
};

// Starts the array of these member nodes (all of one array) as `node`, whatever members are missing as long
// as its data are complete. It is "auto-read-only": until somebody writes to it nothing is written to the
// members, and no member is resynchronised at all. `writable`: what is written to the members stays; then a
// degraded array is read-only, to programs and the kernel alike. Throws Failure(CORRUPT) that says why it
// can't be started.
StartedArray start_array(Programs& programs, const std::string& node, const std::vector<std::string>& members,
                         bool writable);

ArrayMember examine_member(Programs& programs, const std::string& node);

// Stops it; what is in flight is written and the members are marked clean. nullopt, or what went wrong.
std::optional<std::string> stop_array(const std::string& node);

}  // namespace inspect::agent
