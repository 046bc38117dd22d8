// SPDX-License-Identifier: GPL-2.0-or-later
//
// Which file systems insp fsck looks at, by which tools of the appliance, and what their exit codes mean.
// Nothing here runs anything.
#pragma once

#include <string>
#include <vector>

#include <inspect/session.h>

#include "cli/device_names.h"

namespace inspect::cli {

struct Checker {
    const char* type;
    // For the appliance's shell; $1 is the device. A journal that waits is replayed first, also in a mere
    // check: the disk is a copy that is thrown away, and without it much would seem to be wrong that isn't.
    const char* check;
    // Ends with a check of what it did. Null: there is no safe way.
    const char* repair;
};

// nullptr: there is none for it.
const Checker* checker_of(const std::string& type);

enum class Verdict {
    kSound,
    kDamaged,
    kMarked,  // nothing that could be repaired here is wrong, but the guest itself is to look at more of it
    kFailed,  // the tool was killed or could not be run: nothing is known
};
// Of a Checker's script, by its exit code as a shell has it.
Verdict verdict_of(int exit_code);
// For kFailed: what that means, as a sentence.
std::string failure_of(int exit_code);

// Those that the operands name, or all that can be mounted; each once, whatever it is called, and a btrfs
// once, whatever devices and subvolumes it has. Throws Error: kNotFound, kUnsupported.
std::vector<FilesystemInfo> filesystems_to_check(const FilesystemReport& report,
                                                 const std::vector<std::string>& operands,
                                                 const DeviceAliases& aliases);

// The array without all its members that the file system is on; empty: there is none. What is on it can be
// read only.
std::string degraded_array(const FilesystemReport& report, const FilesystemInfo& filesystem);

}  // namespace inspect::cli
