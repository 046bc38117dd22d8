// SPDX-License-Identifier: LGPL-2.1-or-later
//
// CRC32C (Castagnoli: polynomial 0x1EDC6F41 reflected, RFC 3720 appendix B.4), with the CPU's instruction
// where it has one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace inspect {

// The checksum of `bytes` appended to data whose checksum is `before` (0 for none). Thread-safe.
uint32_t crc32c(std::span<const std::byte> bytes, uint32_t before = 0) noexcept;

// The same in portable code, to test the other against.
uint32_t crc32c_portable(std::span<const std::byte> bytes, uint32_t before = 0) noexcept;

}  // namespace inspect
