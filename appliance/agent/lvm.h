// SPDX-License-Identifier: GPL-2.0-or-later
//
// LVM: which logical volumes there are on some physical volumes, and making them devices.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "programs.h"

namespace inspect::agent {

// A line of what lvm reports with kLvmReportForm, by names without the prefix LVM2_.
using LvmFields = std::map<std::string, std::string, std::less<>>;
LvmFields parse_lvm_line(std::string_view line);
// The number that a field begins with; 0: none.
uint64_t lvm_number(const std::string& text);
inline constexpr std::string_view kLvmReportForm =
    " --noheadings --nosuffix --units b --nameprefixes --unquoted --separator | -o ";

// Runs lvm, which sees these nodes and no other, so that nothing is scanned in vain and a member of something
// else isn't taken for a physical volume.
ProgramResult run_lvm(Programs& programs, const std::vector<std::string>& nodes,
                      std::vector<std::string> arguments);
// The same with several commands, a line of at most 255 bytes each, in one process: starting it costs more
// than what it does. It ends where one fails.
ProgramResult run_lvm_script(Programs& programs, const std::vector<std::string>& nodes,
                             const std::string& lines);

struct PhysicalVolume {
    std::string node;  // empty: it is missing
    std::string uuid;
    std::string group;
    std::string group_uuid;
    uint64_t size = 0;  // bytes
};

struct LogicalVolume {
    std::string group;
    std::string group_uuid;
    std::string name;
    std::string uuid;
    std::string node;  // "/dev/mapper/vg-lv"
    bool snapshot = false;
};

struct VolumeGroup {
    std::string name;
    std::string uuid;
    uint64_t size = 0;
    uint64_t free = 0;
};

struct LvmReport {
    std::vector<VolumeGroup> groups;
    std::vector<PhysicalVolume> physical;
    std::vector<LogicalVolume> logical;  // those that hold data of a user: no pools, no parts of others
};

// Of what `lvm pvs` and `lvm lvs` print with --nameprefixes --unquoted --separator '|': lines of
// LVM2_KEY=value|...
LvmReport parse_lvm_report(std::string_view text);

// What there is on these nodes. Nothing is made of it.
LvmReport report_lvm(Programs& programs, const std::vector<std::string>& nodes);

// Makes devices of the logical volumes on these nodes, no two groups on which may have one name, and tells
// what there is. No metadata is written. What can't be made a device (a physical volume is missing) is left
// out of no list: its node isn't there. `complaints` gets LVM's own words.
LvmReport activate_lvm(Programs& programs, const std::vector<std::string>& nodes, std::string& complaints);

// Gives a group, chosen by its UUID, another name: in its metadata, so only where what is written is thrown
// away. Throws Failure.
void rename_group(Programs& programs, const std::vector<std::string>& nodes, const std::string& uuid,
                  const std::string& name);

}  // namespace inspect::agent
