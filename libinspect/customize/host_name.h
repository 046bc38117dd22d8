// SPDX-License-Identifier: LGPL-2.1-or-later
//
// A guest's name in the files that have it. Pure functions.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace inspect {

// hostname(7): labels of letters, digits and hyphens, joined by dots; at most 64 bytes.
bool is_host_name(std::string_view name);

// The name in /etc/hostname: the first word that is no comment. Empty: it has none.
std::string name_in_hostname_file(std::string_view text);

// /etc/hosts with the old name replaced, with and without its domain. Words are replaced as a whole; comments
// stay.
std::string hosts_with_name(std::string_view hosts, std::string_view old_name, std::string_view new_name);

// "HOSTNAME=" of /etc/sysconfig/network replaced. nullopt: the text has no such line.
std::optional<std::string> sysconfig_with_name(std::string_view text, std::string_view new_name);

}  // namespace inspect
