// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Where a password comes from, other than the command line, which everybody on the host can read.
#pragma once

#include <cstddef>
#include <string>

namespace inspect {

inline constexpr size_t kMaxSecret = 4096;

// The first line, without its end, of a file, a pipe or a descriptor (/dev/fd/3); at most kMaxSecret bytes of
// it. Throws Error.
std::string read_secret(const std::string& path);

// Asks on the terminal of this process, without showing what is typed. Throws Error(kUsage) when it has none;
// `what` names the password in that.
std::string ask_secret(const std::string& prompt, const std::string& what);

}  // namespace inspect
