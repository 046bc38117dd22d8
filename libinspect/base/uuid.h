// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Random identifiers.
#pragma once

#include <cstddef>
#include <span>
#include <string>

namespace inspect {

// From the kernel's random pool. Throws Error(kInternal). Thread-safe.
void draw_random(std::span<std::byte> out);

// A random UUID (RFC 4122, version 4) as text: lower-case digits and dashes, 36 characters. Thread-safe.
std::string random_uuid();

}  // namespace inspect
