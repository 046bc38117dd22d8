// SPDX-License-Identifier: GPL-2.0-or-later
//
// Giving a file system or swap space another identifier by its superblocks alone.
//
// The field's tools do that as well, but cost a process each (fatlabel, swaplabel) or more: tune2fs computes
// every checksum of an ext4 file system's metadata anew, and wants the file system checked before, some
// seconds and tens of megabytes for a small guest. For an ext4 these checksums begin with that of the UUID;
// so where the new UUID has the same CRC as the old one, they stay right. (The host draws it so:
// libinspect/sysprep/same_crc.h.)
#pragma once

#include <cstdint>
#include <string_view>

namespace inspect::agent {

// `fd`: the device, open for reading and writing, `size` bytes long. `type` and `id` as libblkid spells them.
// It is on the device afterwards. False: nothing was written, since it is of a type or in a state that wants
// the field's own tools. Throws Failure: it can't be read or written, or `id` is none for this type.
bool set_contents_id(int fd, uint64_t size, std::string_view type, std::string_view id);

// "00010203-0405-...": 16 bytes in this order. Throws Failure(USAGE).
void parse_uuid(std::string_view text, uint8_t (&out)[16]);

}  // namespace inspect::agent
