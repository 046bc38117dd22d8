// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Where things are on the host: the environment's words for it, and directories.
#pragma once

#include <string>

namespace inspect {

// A variable's value; empty when it isn't set, and in a process with more rights than its caller's.
std::string environment(const char* name);

// "/a" of "/a/b", "/" of "/b", "." of "b".
std::string directory_of(const std::string& path);

// As mkdir -p; what is new is this user's alone. Throws Error: "cannot make the directory 'PATH' for WHAT".
void make_directories(const std::string& path, const std::string& what);

}  // namespace inspect
