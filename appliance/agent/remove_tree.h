// SPDX-License-Identifier: GPL-2.0-or-later
//
// rm -rf of one place.
#pragma once

#include <functional>
#include <string>

#include "guest_tree.h"

namespace inspect::agent {

// Removes what is at `place` and everything below it; `between` is called at every entry and may throw.
// Throws Failure for the first thing that can't be removed; what was removed till then is gone.
void remove_tree(const GuestTree::Place& place, const std::string& path,
                 const std::function<void()>& between);

}  // namespace inspect::agent
