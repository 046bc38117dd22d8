// SPDX-License-Identifier: GPL-2.0-or-later
//
// The guest's paths as text. Bytes, not necessarily UTF-8.
#pragma once

#include <string>
#include <string_view>

namespace inspect::cli {

// The last component, without trailing slashes: "/a/b/" gives "b"; "" for "/" and "".
std::string_view base_name(std::string_view path);
// "/a" and "b" give "/a/b", "/" and "b" give "/b".
std::string join_path(std::string_view directory, std::string_view name);

}  // namespace inspect::cli
