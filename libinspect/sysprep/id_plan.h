// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Which identifiers a guest's disks have, and which of them get new ones. Pure: nothing is asked of a disk.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include <inspect/new_ids.h>

namespace inspect {

struct IdFacts {
    FilesystemReport report;
    std::string root;          // the device of the guest's root; empty: there is no guest
    std::string boot;          // the device that has /boot
    bool bios_grub = false;    // GRUB's core image for BIOS lies outside of any file, and can't be changed
    bool group_names = false;  // they are to be changed
};

// `new_uuid` gives another random UUID each time.
using NewUuid = std::function<std::string()>;
std::vector<IdChange> plan_ids(const IdFacts& facts, const NewUuid& new_uuid);

// Draws what is new in these, for all that changes and isn't chosen by LVM.
void draw_ids(std::vector<IdChange>& ids, const NewUuid& new_uuid);

// An array's identifier as mdadm spells it: four times eight digits between colons.
std::string array_id(const std::string& uuid);

// A text of the guest's with the new identifiers and names in it, of all that changes and whose new value is
// known.
std::string rewrite_ids(const std::string& text, const std::vector<IdChange>& ids);

}  // namespace inspect
