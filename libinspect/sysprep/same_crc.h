// SPDX-License-Identifier: LGPL-2.1-or-later
//
// UUIDs with the same CRC.
//
// The checksums in ext4's and F2FS' metadata begin with that of the file system's UUID. Where a new UUID has
// the old one's, all of them stay right, and only the superblock is to be written. Of the 122 free bits of a
// random UUID 90 stay random.
#pragma once

#include <cstdint>
#include <string>

namespace inspect {

inline constexpr uint32_t kCrc32 = 0xedb88320;   // F2FS; polynomials are reflected
inline constexpr uint32_t kCrc32c = 0x82f63b78;  // ext4

// `random` with other last eight digits, so that its 16 bytes have the CRC that those of `old_id` have. Both
// are UUIDs of 36 characters; where they aren't, `random` itself. A pure function.
std::string uuid_of_same_crc(const std::string& old_id, const std::string& random, uint32_t polynomial);

}  // namespace inspect
