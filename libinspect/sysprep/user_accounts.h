// SPDX-License-Identifier: LGPL-2.1-or-later
//
// The operation user-account: who goes, and what /etc/passwd and its like are without them. Pure functions of
// the files' texts; see passwd(5), shadow(5), group(5), gshadow(5), login.defs(5).
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace inspect {

// The numbers of people's accounts, as /etc/login.defs has them, else as shadow's default is.
struct UidRange {
    uint64_t first = 1000, last = 60000;
};
UidRange uid_range(std::string_view login_defs);

struct UserAccounts {
    std::set<std::string> names;
    std::vector<std::string> homes;  // that nobody else has, and that are below some other directory
};
// Those in the range: but for `kept`, and, if `wanted` has any, only these.
UserAccounts accounts_to_remove(std::string_view passwd, const UidRange& range,
                                const std::set<std::string>& kept, const std::set<std::string>& wanted);

// passwd or shadow without these users' lines.
std::string without_users(std::string_view text, const std::set<std::string>& users);
// group or gshadow without the users' own groups, and without them in the lists of others' members.
std::string without_members(std::string_view text, const std::set<std::string>& users);

}  // namespace inspect
