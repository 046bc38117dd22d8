// SPDX-License-Identifier: LGPL-2.1-or-later
//
// The host's logical volumes, by the host's lvm: what it knows of one, and another size for it.
//
// lvm's programs are found on PATH (Debian's package lvm2) and need root. They are asked of a volume by its
// device number, since they don't know all the names that a device has.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/subprocess.h"

namespace inspect {

struct HostVolume {
    std::string group;
    std::string name;
    bool thin = false;     // it lies in a thin pool, and so will its snapshots
    uint64_t size = 0;     // bytes
    uint64_t unit = 0;     // bytes; it can only have sizes that are a multiple of this
    uint64_t room = 0;     // bytes that are free in its group
    std::string pool;      // of a thin one
    std::string obstacle;  // not empty: why its size can't be changed by the host's lvm, and what to do

    std::string full_name() const { return group + "/" + name; }
};

// Runs one of lvm's programs to its end. `what` begins the error when it can't be run: kNotFound when it
// isn't installed.
ProgramResult run_lvm(std::vector<std::string> arguments, const std::string& what);

// What lvm said is wrong, as the end of a sentence.
std::string lvm_complaint(const ProgramResult& result);

// What the host's lvm knows of the block device of this number. nullopt: it is no logical volume. `shown` is
// what messages call it. Throws Error: kNotFound when lvm isn't installed and it may be one, kDenied when we
// aren't root and lvm fails, kInternal when it fails or says what makes no sense.
std::optional<HostVolume> find_host_volume(dev_t device, const std::string& shown);

// That it can be made this size, in bytes, as far as can be found out before. Throws Error: kUnsupported (its
// obstacle, a size that is no multiple of the unit), kNoSpace when its group has no room, or when its thin
// pool would promise more than it has: what is written to a full pool is lost.
void require_resizable(const HostVolume& volume, uint64_t size);

// Makes the volume that is the block device of this number `size` bytes large: by lvextend or lvreduce. What
// is new holds whatever was there; what is beyond the end is gone. Throws what find_host_volume() and
// require_resizable() do; kUnsupported when the device is no logical volume.
void resize_host_volume(dev_t device, const std::string& shown, uint64_t size);

}  // namespace inspect
