// SPDX-License-Identifier: LGPL-2.1-or-later
//
// NodeStat: what the agent says of a file, checked: nothing of it can surprise the host's kernel.
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <optional>
#include <string>

#include "protocol/insp.pb.h"

namespace inspect::fuse {

struct NodeStat {
    uint64_t device = 0;  // the guest's
    uint64_t inode = 0;
    struct stat attributes = {};  // st_dev and st_ino are not filled
    std::string link_target;      // of a symlink, where it was told
};

// The longest target of a symlink that the kernel takes.
inline constexpr size_t kMostLinkTarget = 4095;
// The longest name that the kernel's FUSE takes.
inline constexpr size_t kMostName = 1024;

// nullopt for what can't be: no such type, sizes or times that no file has.
std::optional<NodeStat> checked_stat(const proto::FileStat& wire);
bool is_link_target(const std::string& target);
// The errno of a failure, one that a system call may have.
int errno_of(const proto::Response::Failure& failure);

}  // namespace inspect::fuse
