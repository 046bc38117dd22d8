// SPDX-License-Identifier: LGPL-2.1-or-later
//
// The package managers of guests: which one a guest has, and how each is told to install, update and remove.
#pragma once

#include <string>
#include <vector>

#include <inspect/session.h>

namespace inspect {

struct PackageManager {
    const char* name;     // as the inspection names it: OperatingSystem::package_management
    const char* program;  // where it is in the guest
    // Suffixes of its packages' files, separated by spaces.
    const char* suffixes;
    // For sh, after kPackageScriptHead: defines the functions install, update and uninstall.
    const char* functions;
};

// What the guest has, by the inspection, and there to be run. The tree must be mounted. Throws
// Error(kUnsupported).
const PackageManager& package_manager_of(Session& session);
// The same without asking for an inspection: what the guest's programs say.
const PackageManager* package_manager_by_program(Session& session);

// A script for the guest's /bin/sh. Its first argument is what to do (install, update, uninstall), the others
// are packages. If the environment variable `packages` is set, it is a directory of the guest with packages
// in files, for the script to change as it likes; if `network` is set, the guest's own sources can be reached
// (by http_proxy, or because the guest runs).
std::string package_script(const PackageManager& manager);

// "a,b,c" taken apart. Throws Error(kUsage) for what is no list of packages' names.
std::vector<std::string> parse_package_list(const std::string& argument);
// Whether a file of the host is one of the manager's packages, by its name.
bool is_package_file(const PackageManager& manager, const std::string& name);

}  // namespace inspect
