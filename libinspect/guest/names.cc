// SPDX-License-Identifier: LGPL-2.1-or-later
#include "guest/names.h"

#include <inspect/error.h>

#include "guest/printable.h"

namespace inspect {

bool is_entry_name(std::string_view name) {
    return !name.empty() && name.size() <= kMaxName && name != "." && name != ".." &&
           name.find('/') == name.npos && name.find('\0') == name.npos;
}

bool is_relative_path(std::string_view path) {
    if (path.size() > kMaxRelativePath) return false;
    for (;;) {
        size_t slash = path.find('/');
        if (!is_entry_name(path.substr(0, slash))) return false;
        if (slash == path.npos) return true;
        path.remove_prefix(slash + 1);
    }
}

void require_guest_path(const std::string& path) {
    if (path.empty() || path[0] != '/') {
        throw Error(ErrorKind::kUsage,
                    quoted(path) + " is not an absolute path: paths in a guest begin with '/'");
    }
    if (path.find('\0') != path.npos)
        throw Error(ErrorKind::kUsage, quoted(path) + " holds a NUL byte, which no path can");
    if (path.size() > kMaxRelativePath)
        throw Error(ErrorKind::kUsage, "the path is too long: " + quoted(path));
}

std::string_view last_name(std::string_view path) {
    while (path.ends_with('/')) path.remove_suffix(1);
    size_t slash = path.rfind('/');
    return slash == path.npos ? path : path.substr(slash + 1);
}

}  // namespace inspect
