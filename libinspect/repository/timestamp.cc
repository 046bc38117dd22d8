// SPDX-License-Identifier: LGPL-2.1-or-later
#include "repository/timestamp.h"

#include <time.h>

#include <cstdio>

namespace inspect::repository {

namespace {

// Takes `digits` decimal digits from the front of `text`; -1 when they aren't there.
int take_number(std::string_view& text, size_t digits) {
    if (text.size() < digits) return -1;
    int value = 0;
    for (char c : text.substr(0, digits)) {
        if (c < '0' || c > '9') return -1;
        value = value * 10 + (c - '0');
    }
    text.remove_prefix(digits);
    return value;
}

bool take(std::string_view& text, char c) {
    if (!text.starts_with(c)) return false;
    text.remove_prefix(1);
    return true;
}

}  // namespace

Timestamp Timestamp::now() {
    timespec time{};
    ::clock_gettime(CLOCK_REALTIME, &time);
    return {time.tv_sec, static_cast<uint32_t>(time.tv_nsec)};
}

std::optional<Timestamp> Timestamp::parse(std::string_view text) {
    tm parts{};
    parts.tm_year = take_number(text, 4) - 1900;
    if (!take(text, '-')) return std::nullopt;
    parts.tm_mon = take_number(text, 2) - 1;
    if (!take(text, '-')) return std::nullopt;
    parts.tm_mday = take_number(text, 2);
    if (!take(text, 'T')) return std::nullopt;
    parts.tm_hour = take_number(text, 2);
    if (!take(text, ':')) return std::nullopt;
    parts.tm_min = take_number(text, 2);
    if (!take(text, ':')) return std::nullopt;
    parts.tm_sec = take_number(text, 2);
    if (parts.tm_year < -1900 || parts.tm_mon < 0 || parts.tm_mon > 11 || parts.tm_mday < 1 ||
        parts.tm_mday > 31 || parts.tm_hour < 0 || parts.tm_hour > 23 || parts.tm_min < 0 ||
        parts.tm_min > 59 || parts.tm_sec < 0 || parts.tm_sec > 60)
        return std::nullopt;
    Timestamp result;
    if (take(text, '.')) {
        uint32_t unit = 100'000'000;
        if (text.empty() || text[0] < '0' || text[0] > '9') return std::nullopt;
        while (!text.empty() && text[0] >= '0' && text[0] <= '9') {
            result.nanoseconds += unit * static_cast<uint32_t>(text[0] - '0');
            unit /= 10;
            text.remove_prefix(1);
        }
    }
    int offset_minutes = 0;
    if (!take(text, 'Z')) {
        const bool west = text.starts_with('-');
        if (!west && !text.starts_with('+')) return std::nullopt;
        text.remove_prefix(1);
        const int hours = take_number(text, 2);
        if (hours < 0 || hours > 23 || !take(text, ':')) return std::nullopt;
        const int minutes = take_number(text, 2);
        if (minutes < 0 || minutes > 59) return std::nullopt;
        offset_minutes = (hours * 60 + minutes) * (west ? -1 : 1);
    }
    if (!text.empty()) return std::nullopt;
    result.seconds = ::timegm(&parts) - int64_t{60} * offset_minutes;
    return result;
}

std::string Timestamp::text() const {
    const time_t time = seconds;
    tm parts{};
    ::gmtime_r(&time, &parts);
    char buffer[96];
    std::snprintf(buffer, sizeof buffer, "%04d-%02d-%02dT%02d:%02d:%02d.%09uZ", parts.tm_year + 1900,
                  parts.tm_mon + 1, parts.tm_mday, parts.tm_hour, parts.tm_min, parts.tm_sec, nanoseconds);
    return buffer;
}

}  // namespace inspect::repository
