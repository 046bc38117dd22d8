// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Snapshots of the host's logical volumes, made by lvm itself (which needs root).
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace inspect {

struct LogicalVolumeInfo {
    std::string group;
    std::string name;
    bool thin = false;  // it lies in a thin pool, and so will its snapshots
    uint64_t size = 0;  // bytes
};

// What the host's lvm knows of a block device. nullopt: it is no logical volume. Throws Error; kNotFound when
// lvm isn't installed.
std::optional<LogicalVolumeInfo> find_logical_volume(const std::string& device);

// Makes /dev/GROUP/NAME. One that isn't thin gets as much room as its origin has, so that it can't overflow.
// Throws Error; kDenied when there is a volume of that name.
void snapshot_logical_volume(const LogicalVolumeInfo& origin, const std::string& name);

// Removes a snapshot that was made for nothing. Doesn't throw: there is nothing to be done about it.
void remove_logical_volume(const std::string& group, const std::string& name) noexcept;

}  // namespace inspect
