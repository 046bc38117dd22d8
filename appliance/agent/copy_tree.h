// SPDX-License-Identifier: GPL-2.0-or-later
//
// Copying within the guest: what mv(1) does between two file systems.
#pragma once

#include <string>

#include "operations.h"

namespace inspect::agent {

// The file or tree `from` becomes `to` with all its metadata. An existing file is replaced, an empty
// directory by a directory. When it fails the copy is removed and Failure thrown; the source is as it was.
void copy_tree(const Context& context, const GuestTree::Place& from, const std::string& from_path,
               const GuestTree::Place& to, const std::string& to_path);

}  // namespace inspect::agent
