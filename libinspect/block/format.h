// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Telling image formats by their first sector.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string_view>

namespace inspect {

// The name of the format ("qcow2", "vmdk", "vhdx", "vdi", "vpc", "qed", "parallels") whose signature the
// first bytes of an image show, nullopt when they show none, as a raw disk's. `start` is the first 512 bytes,
// or all of a shorter file. LUKS is not among them: to a guest it is a disk's contents like any other.
std::optional<std::string_view> foreign_format(std::span<const std::byte> start);

// Where foreign_format() looks, in bytes from the image's start.
inline constexpr size_t kFormatSector = 512;

// Throws Error(kDenied) when the first sector of an image that was taken for a raw one is going to look like
// another format's: the next program that guesses formats would follow what a guest wrote there to any file
// of the host.
void refuse_foreign_format(std::span<const std::byte> start);

}  // namespace inspect
