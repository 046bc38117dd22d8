// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <string_view>

namespace inspect {

// Of blkid's names for file systems.
inline bool is_ext(std::string_view type) { return type == "ext2" || type == "ext3" || type == "ext4"; }

}  // namespace inspect
