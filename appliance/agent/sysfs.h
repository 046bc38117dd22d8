// SPDX-License-Identifier: GPL-2.0-or-later
//
// Reading what /sys and /proc say.
#pragma once

#include <string>
#include <vector>

namespace inspect::agent {

// The names in a directory, without those that begin with a dot; none when it can't be read.
std::vector<std::string> names_in(const std::string& path);

// A small file, at most 4 KiB of it, without the newlines at its end; empty when it can't be read.
std::string read_small_file(const std::string& path);

// The first line of a small file; empty when it can't be read.
std::string read_line(const std::string& path);

}  // namespace inspect::agent
