// SPDX-License-Identifier: LGPL-2.1-or-later
#include "base/host_paths.h"

#include <sys/stat.h>

#include <cerrno>
#include <cstdlib>

#include <inspect/error.h>

namespace inspect {

std::string environment(const char* name) {
    const char* value = ::secure_getenv(name);
    return value != nullptr ? value : "";
}

std::string directory_of(const std::string& path) {
    const size_t slash = path.rfind('/');
    if (slash == std::string::npos) return ".";
    return slash == 0 ? "/" : path.substr(0, slash);
}

void make_directories(const std::string& path, const std::string& what) {
    // Of what is there already somewhere above, mkdir may say something else than that.
    for (size_t slash = path.find('/', 1);; slash = path.find('/', slash + 1)) {
        const std::string part = path.substr(0, slash);
        const bool made = ::mkdir(part.c_str(), 0700) == 0 || errno == EEXIST;
        if (!made && (slash == std::string::npos || (errno != EROFS && errno != EACCES)))
            throw Error::from_errno("cannot make the directory '" + part + "' for " + what, errno);
        if (slash == std::string::npos) return;
    }
}

}  // namespace inspect
