// SPDX-License-Identifier: GPL-2.0-or-later
#include "cli/temp_dir.h"

#include <ftw.h>
#include <stdlib.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>

#include <inspect/error.h>

namespace inspect::cli {

TempDirectory::TempDirectory() {
    const char* base = getenv("TMPDIR");
    if (base == nullptr || *base == 0) base = "/tmp";
    path_ = std::string(base) + "/insp-edit-XXXXXX";
    if (mkdtemp(path_.data()) == nullptr)
        throw Error::from_errno("cannot make a temporary directory in " + std::string(base), errno,
                                ErrorKind::kDenied);
}

TempDirectory::~TempDirectory() {
    // Editors leave swap files and backups, even directories. Nothing is followed out of it.
    nftw(
        path_.c_str(),
        [](const char* path, const struct stat*, int, struct FTW*) {
            remove(path);
            return 0;
        },
        8, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
}

}  // namespace inspect::cli
