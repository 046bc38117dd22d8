// SPDX-License-Identifier: GPL-2.0-or-later
//
// How much of a device the thing on it takes, from its first structures, without mounting it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace inspect::agent {

struct Geometry {
    uint64_t size = 0;       // bytes from the device's start
    uint32_t granule = 512;  // its size is a multiple of this
    std::optional<uint64_t> used = {};
    uint64_t header = 0;   // crypto_LUKS: what lies before the plaintext
    uint32_t devices = 1;  // btrfs: how many it lies on
    // vfat: why it can't be resized, and what its type allows, in bytes
    std::string fixed = {};
    std::optional<uint64_t> maximum = {};
};

// Of what libblkid calls `type`, on the volume at [offset, offset + volume_size) of a device, in bytes. A
// type that isn't known, and one that is but can't be made out, takes all of the volume. Throws Failure when
// the device can't be read.
Geometry read_geometry(int fd, uint64_t offset, uint64_t volume_size, std::string_view type);

}  // namespace inspect::agent
