// SPDX-License-Identifier: GPL-2.0-or-later
//
// Putting a finished new file in an old one's place.
#pragma once

#include <string>

#include "guest_tree.h"
#include "new_file.h"

namespace inspect::agent {

// What is at the place becomes name + suffix, whatever was there.
void keep_backup(const GuestTree::Place& place, const std::string& suffix, const std::string& path);
// `file` takes the place, after a backup was kept when there is a suffix; all or nothing.
void replace_file(const GuestTree::Place& place, NewFile& file, const std::string& backup_suffix,
                  const std::string& path);

}  // namespace inspect::agent
