// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Which identifiers a guest's disks have, and which of them get new ones. Pure: nothing is asked of a disk.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include <inspect/new_ids.h>

namespace inspect {

struct IdFacts {
    FilesystemReport report;
    std::map<std::string, std::string> table_ids;  // by disk: a GUID, or "0x1234abcd"
    std::string root;                              // the device of the guest's root; empty: there is no guest
    std::string boot;                              // the device that has /boot
    bool bios_grub = false;  // GRUB's core image for BIOS lies outside of any file, and can't be changed
};

// `new_uuid` gives another random UUID each time.
std::vector<IdChange> plan_ids(const IdFacts& facts, const std::function<std::string()>& new_uuid);

// What is to be replaced in texts: of all that changes and whose new value is known.
std::vector<std::pair<std::string, std::string>> replacements(const std::vector<IdChange>& ids);

}  // namespace inspect
