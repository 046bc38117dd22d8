// SPDX-License-Identifier: GPL-2.0-or-later
#include "cli/guest_path.h"

namespace inspect::cli {

std::string_view base_name(std::string_view path) {
    while (path.ends_with('/')) path.remove_suffix(1);
    size_t slash = path.rfind('/');
    return slash == std::string_view::npos ? path : path.substr(slash + 1);
}

std::string join_path(std::string_view directory, std::string_view name) {
    std::string out(directory);
    if (!out.ends_with('/')) out += '/';
    return out += name;
}

}  // namespace inspect::cli
