// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Points in time as a repository writes them: RFC 3339, with nanoseconds and an offset from UTC.
#pragma once

#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace inspect::repository {

struct Timestamp {
    int64_t seconds = 0;       // since the epoch
    uint32_t nanoseconds = 0;  // less than 10^9

    static Timestamp now();
    // "2026-03-01T14:05:06.123456789+01:00"; nullopt for anything else.
    static std::optional<Timestamp> parse(std::string_view text);
    // In UTC: "2026-03-01T13:05:06.123456789Z".
    std::string text() const;

    auto operator<=>(const Timestamp&) const = default;
};

}  // namespace inspect::repository
