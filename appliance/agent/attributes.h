// SPDX-License-Identifier: GPL-2.0-or-later
//
// What a file has besides its contents: extended attributes (ACLs, the SELinux label and capabilities are
// some), owner, mode, times.
#pragma once

#include <functional>
#include <string>

#include "protocol/insp.pb.h"

namespace inspect::agent {

using Warn = std::function<void(std::string)>;

// All extended attributes of what `proc_path` names ("/proc/self/fd/N", or a path whose last component isn't
// followed). Unsupported ones are none. Throws Failure that names `path`.
google::protobuf::RepeatedPtrField<proto::Xattr> read_xattrs(const char* proc_path, const std::string& path);
// Sets them. What the file system can't hold is told to `warn`; anything else throws Failure.
void write_xattrs(const char* proc_path, const google::protobuf::RepeatedPtrField<proto::Xattr>& xattrs,
                  const std::string& path, const Warn& warn);
// Owner, mode and extended attributes of one open file to another. A file system without owners (FAT) is a
// warning.
void copy_attributes(int from, int to, const std::string& path, const Warn& warn);

}  // namespace inspect::agent
