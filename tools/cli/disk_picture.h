// SPDX-License-Identifier: GPL-2.0-or-later
//
// A disk as text: its partitions drawn to scale, and what is in them as a list. Pure functions.
#pragma once

#include <cstdint>
#include <string>

#include <inspect/resize.h>

#include "cli/json.h"

namespace inspect::cli {

// Three lines, drawn to a scale at which `full_size` bytes are `columns` wide; every partition can be seen,
// however small:
//   +----+------------------+.....+
//   |sda1|sda2 ext4         |     |
//   +----+------------------+.....+
std::string disk_picture(const DiskState& disk, uint64_t full_size, size_t columns);

// What changes, or stays, a line each: "/dev/sda2  ext4  2.0G -> 3.0G".
std::string size_table(const ResizePlan& plan);

void write_disk(JsonWriter& json, std::string_view key, const DiskState& disk);
// Members "steps" and "notes".
void write_steps(JsonWriter& json, const ResizePlan& plan);

}  // namespace inspect::cli
