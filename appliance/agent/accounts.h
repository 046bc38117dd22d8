// SPDX-License-Identifier: GPL-2.0-or-later
//
// Owners as a person writes them, "alice:staff", to the guest's numbers: by the guest's own /etc/passwd and
// /etc/group.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string_view>

#include "guest_tree.h"

namespace inspect::agent {

struct Owner {
    std::optional<uid_t> uid;
    std::optional<gid_t> gid;
};

// "user", "user:group", ":group", "user:" (the user's login group); each a name or a number. Throws Failure
// (USAGE, NOT_FOUND).
Owner parse_owner(const GuestTree& tree, std::string_view text);
// Of the texts of the two files; what parse_owner() does once they are read.
Owner parse_owner(std::string_view text, std::string_view passwd, std::string_view group);

}  // namespace inspect::agent
