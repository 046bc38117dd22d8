// SPDX-License-Identifier: LGPL-2.1-or-later
//
// ObjectId: the name of all that a repository holds: the SHA-256 of its bytes.
#pragma once

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace inspect::repository {

using Bytes = std::vector<std::byte>;

struct ObjectId {
    static constexpr size_t kSize = 32;

    std::array<std::byte, kSize> bytes{};

    // The SHA-256 of these bytes. Thread-safe.
    static ObjectId of(std::span<const std::byte> content);
    // The same of two contents: of equal lengths in little more time than one takes, where the CPU can.
    static std::pair<ObjectId, ObjectId> of_two(std::span<const std::byte> first,
                                                std::span<const std::byte> second);
    // The same of so many zero bytes, which need not be in memory.
    static ObjectId of_zeros(uint64_t length);
    // From 64 lower-case hexadecimal digits; nullopt for anything else.
    static std::optional<ObjectId> parse(std::string_view hex);

    std::string hex() const;
    // The first eight digits, as restic shows them to people.
    std::string short_hex() const { return hex().substr(0, 8); }

    auto operator<=>(const ObjectId&) const = default;
};

// A hash's bytes are random enough to be a hash table's key as they are.
struct ObjectIdHash {
    size_t operator()(const ObjectId& id) const noexcept {
        size_t value;
        std::memcpy(&value, id.bytes.data(), sizeof value);
        return value;
    }
};

inline std::span<const std::byte> as_bytes(std::string_view text) {
    return std::as_bytes(std::span(text.data(), text.size()));
}
inline std::string_view as_text(std::span<const std::byte> bytes) {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

}  // namespace inspect::repository
