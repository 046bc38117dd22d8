// SPDX-License-Identifier: GPL-2.0-or-later
//
// From struct stat to the protocol's FileStat.
#pragma once

#include <sys/stat.h>

#include <string>

#include "protocol/insp.pb.h"

namespace inspect::agent {

void to_proto(const struct stat& status, proto::FileStat& out);
// Of a name in a directory, the symlink's target included. Throws Failure that names `path`.
proto::FileStat stat_entry(int directory, const std::string& name, const std::string& path);
// Of an O_PATH descriptor.
proto::FileStat stat_handle(int fd, const std::string& path);
// The target of a symlink: of `name` in `directory`, or of the O_PATH descriptor `directory` when `name` is
// empty. Throws Failure.
std::string read_link(int directory, const char* name, const std::string& path);

// The same where it is told beside other things: empty when it can't be read, as in a damaged symlink.
std::string readable_link_target(int directory, const char* name);

// Nanoseconds since the epoch, kept within what 64 bits hold.
int64_t to_nanoseconds(const timespec& time);
timespec from_nanoseconds(int64_t ns);

}  // namespace inspect::agent
