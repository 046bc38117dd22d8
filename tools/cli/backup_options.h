// SPDX-License-Identifier: GPL-2.0-or-later
//
// What the options of insp backup say, in the library's words. All functions throw UsageError.
#pragma once

#include <string>
#include <vector>

#include <inspect/backup.h>

#include "cli/command.h"

namespace inspect::cli {

BackupAccess backup_access(const Arguments& arguments);

// What create is to back up: each operand is a guest, all of -a and -d together are one. Throws also what
// asking libvirt and reading a domain's XML throw.
std::vector<BackupGuest> backup_guests(const Arguments& arguments);
BackupOptions backup_options(const Arguments& arguments);

// How the appliance runs that looks at a guest.
SessionOptions backup_appliance(const Arguments& arguments);

ForgetOptions forget_options(const Arguments& arguments);

}  // namespace inspect::cli
