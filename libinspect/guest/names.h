// SPDX-License-Identifier: LGPL-2.1-or-later
//
// What a name or a path from outside may look like.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace inspect {

// Longest name of one directory entry, in bytes: 255 UTF-16 units of NTFS and VFAT take up to 765.
inline constexpr size_t kMaxName = 1024;
// Longest path relative to a directory. Deeper trees exist (each of mkdir's steps is short), but not by
// chance.
inline constexpr size_t kMaxRelativePath = 64 << 10;
inline constexpr size_t kMaxLinkTarget = 64 << 10;

// A name of a directory entry: not empty, not "." or "..", no '/', no NUL, not too long.
bool is_entry_name(std::string_view name);

// "a/b/c": entry names joined by single slashes.
bool is_relative_path(std::string_view path);

// An absolute path in a guest, as a caller may give it. Throws Error(kUsage) for any other.
void require_guest_path(const std::string& path);

// The last name of a path; trailing slashes do not count. Empty for "/" and "".
std::string_view last_name(std::string_view path);

}  // namespace inspect
