// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Where the appliance and the program insp-vmm are, and what identifies them.
#pragma once

#include <cstdint>
#include <string>

#include "base/fd.h"

namespace inspect {

// The appliance's files, opened.
struct ApplianceFiles {
    std::string directory;
    Fd kernel;  // vmlinux.zst: see kernel_image.h
    Fd initrd;
    Fd root;  // root.erofs
    // Changes whenever one of the files does: their sizes, inodes and times.
    std::string identity;
    uint64_t size_bytes = 0;
};

// The directory: `given`, else $INSP_APPLIANCE, else ../share/libinspect/appliance beside the running
// program's directory, else the one of the installation. Throws Error(kNotFound) that names what was looked
// for where.
std::string find_appliance_directory(const std::string& given);
ApplianceFiles open_appliance(const std::string& given_directory);

// insp-vmm: $INSP_VMM, else ../libexec/libinspect/ beside the running program's directory, else the
// installation's. Throws Error(kNotFound).
std::string find_vmm_program();

// "size inode mtime" of an open file, for cache keys.
std::string file_identity(int fd);

}  // namespace inspect
