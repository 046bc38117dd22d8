// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Where an image is, in the words that QEMU's blockdev options have for it.
#pragma once

#include <algorithm>
#include <array>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

namespace inspect {

// Whether the list of names has that one.
template <size_t kCount>
bool is_among(const std::array<const char*, kCount>& all, std::string_view name) {
    return std::ranges::find(all, name) != all.end();
}

// True for locations that are no path but something that QEMU reaches by a protocol (rbd:, ssh://...).
bool qsd_is_remote(std::string_view location);

// True when QEMU can only read there.
bool qsd_is_read_only(std::string_view location);

// The options of the protocol's node: {"driver": "file", "filename": ...}, {"driver": "ssh", ...}. Throws
// Error: kUsage for what isn't of its scheme's form, kUnsupported for schemes and options that aren't known,
// kNotFound for a path that isn't there.
nlohmann::json qsd_location(const std::string& location);

}  // namespace inspect
