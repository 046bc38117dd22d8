// SPDX-License-Identifier: GPL-2.0-or-later
//
// /etc/crypttab: what a guest calls its encrypted volumes when they are unlocked.
#pragma once

#include <map>
#include <string>
#include <string_view>

namespace inspect::agent {

// As crypttab(5) describes it: "sda2_crypt UUID=... none luks" gives {"/dev/mapper/sda2_crypt", "UUID=..."}.
std::map<std::string, std::string> parse_crypttab(std::string_view text);

}  // namespace inspect::agent
