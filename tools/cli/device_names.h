// SPDX-License-Identifier: GPL-2.0-or-later
//
// The names of devices on a command line. What -m and --key accept, the appliance understands by itself; this
// is for operands that are compared with what it lists.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "cli/guest.h"

namespace inspect::cli {

// "/dev/sda1" for /dev/vda1, /dev/hda1, /dev/xvda1, and for each without its /dev/. Other names stay as they
// are.
std::string usual_device_name(std::string_view name);

// What the appliance has linked to devices that are listed: "/dev/mapper/vg-root" -> "/dev/vg/root".
using DeviceAliases = std::map<std::string, std::string, std::less<>>;
// Of these names, those that are not listed; asks the appliance only where there are such. Throws Error.
DeviceAliases device_aliases(Guest& guest, const FilesystemReport& report,
                             const std::vector<std::string>& names);

// By any of its names. Of a subvolume of btrfs (btrfsvol:/dev/sda1/@home), the file system that it is in.
// nullptr: there is none.
const FilesystemInfo* find_device(const FilesystemReport& report, std::string_view name,
                                  const DeviceAliases& aliases);

}  // namespace inspect::cli
