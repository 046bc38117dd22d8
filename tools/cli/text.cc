// SPDX-License-Identifier: GPL-2.0-or-later
#include "cli/text.h"

#include <dirent.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <ctime>

namespace inspect::cli {
namespace {

constexpr std::string_view kReplacement = "\xef\xbf\xbd";  // U+FFFD

void append_hex(std::string& out, unsigned char byte) {
    constexpr char kDigits[] = "0123456789abcdef";
    out += "\\x";
    out += kDigits[byte >> 4];
    out += kDigits[byte & 15];
}

std::string escape(std::string_view bytes, bool keep_invalid) {
    std::string out;
    out.reserve(bytes.size());
    while (!bytes.empty()) {
        auto byte = static_cast<unsigned char>(bytes[0]);
        size_t length = utf8_sequence_length(bytes);
        if (byte == '\n') {
            out += "\\n";
        } else if (byte == '\t') {
            out += "\\t";
        } else if (byte == '\r') {
            out += "\\r";
        } else if (byte < 0x20 || byte == 0x7f) {
            append_hex(out, byte);
        } else if (length == 2 && byte == 0xc2 && static_cast<unsigned char>(bytes[1]) < 0xa0) {
            append_hex(out, static_cast<unsigned char>(bytes[1]));  // C1: U+0080 to U+009F
        } else if (length != 0) {
            out += bytes.substr(0, length);
        } else if (keep_invalid) {
            out += bytes[0];
        } else {
            append_hex(out, byte);
        }
        bytes.remove_prefix(std::max<size_t>(length, 1));
    }
    return out;
}

}  // namespace

size_t utf8_sequence_length(std::string_view bytes) {
    if (bytes.empty()) return 0;
    auto at = [&](size_t i) { return static_cast<unsigned char>(bytes[i]); };
    unsigned char first = at(0);
    if (first < 0x80) return 1;
    size_t length = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
    if (first < 0xc2 || first > 0xf4 || bytes.size() < length) return 0;
    // The second byte's range is narrower after these: overlong forms, surrogates, above U+10FFFF.
    unsigned char low = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80;
    unsigned char high = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf;
    if (at(1) < low || at(1) > high) return 0;
    for (size_t i = 2; i < length; ++i)
        if (at(i) < 0x80 || at(i) > 0xbf) return 0;
    return length;
}

std::string valid_utf8(std::string_view bytes) {
    std::string out;
    out.reserve(bytes.size());
    while (!bytes.empty()) {
        const size_t length = utf8_sequence_length(bytes);
        out += length != 0 ? bytes.substr(0, length) : kReplacement;
        bytes.remove_prefix(std::max<size_t>(length, 1));
    }
    return out;
}

bool is_utf8(std::string_view bytes) {
    while (!bytes.empty()) {
        size_t length = utf8_sequence_length(bytes);
        if (length == 0) return false;
        bytes.remove_prefix(length);
    }
    return true;
}

std::string escape_message(std::string_view bytes) { return escape(bytes, false); }

std::string escape_control(std::string_view bytes) { return escape(bytes, true); }

std::string human_size(uint64_t bytes) {
    if (bytes < 1024) return std::to_string(bytes);
    constexpr char kUnits[] = "KMGTPE";
    // In tenths of the unit, rounded up. Below ten units the tenths are shown.
    for (unsigned unit = 0;; ++unit) {
        unsigned shift = 10 * (unit + 1);
        uint64_t whole = bytes >> shift;
        uint64_t rest = bytes & ((uint64_t{1} << shift) - 1);
        if (whole >= 1024 && unit < 5) continue;
        // rest * 10 can't overflow below 2^60; for the exabytes lose the bits that don't matter.
        uint64_t tenths = shift < 60 ? (rest * 10 + (uint64_t{1} << shift) - 1) >> shift
                                     : ((rest >> 10) * 10 + (uint64_t{1} << 50) - 1) >> 50;
        if (whole < 10) {
            uint64_t all = whole * 10 + tenths;
            if (all < 100) return std::to_string(all / 10) + "." + std::to_string(all % 10) + kUnits[unit];
            return std::string("10") + kUnits[unit];
        }
        uint64_t rounded = whole + (rest != 0 ? 1 : 0);
        if (rounded >= 1024 && unit < 5) return std::string("1.0") + kUnits[unit + 1];
        return std::to_string(rounded) + kUnits[unit];
    }
}

std::string csv_field(std::string_view text) {
    if (text.find_first_of(" ,\"\r\n") == std::string_view::npos) return std::string(text);
    std::string out = "\"";
    for (char c : text) {
        if (c == '"') out += '"';
        out += c;
    }
    return out + "\"";
}

char type_letter(uint32_t mode) {
    switch (mode & S_IFMT) {
        case S_IFREG:
            return '-';
        case S_IFDIR:
            return 'd';
        case S_IFCHR:
            return 'c';
        case S_IFBLK:
            return 'b';
        case S_IFIFO:
            return 'p';
        case S_IFLNK:
            return 'l';
        case S_IFSOCK:
            return 's';
        default:
            return 'u';
    }
}

std::string_view type_word(uint32_t mode) {
    switch (mode & S_IFMT) {
        case S_IFREG:
            return "file";
        case S_IFDIR:
            return "directory";
        case S_IFCHR:
            return "character-device";
        case S_IFBLK:
            return "block-device";
        case S_IFIFO:
            return "fifo";
        case S_IFLNK:
            return "symlink";
        case S_IFSOCK:
            return "socket";
        default:
            return "unknown";
    }
}

uint32_t mode_of_dirent_type(uint8_t type) {
    return type == DT_UNKNOWN ? 0 : (uint32_t{type} << 12) & S_IFMT;
}

std::string mode_string(uint32_t mode) {
    std::string out(1, type_letter(mode));
    for (int shift : {6, 3, 0}) {
        uint32_t bits = (mode >> shift) & 7;
        uint32_t special = mode & (shift == 6 ? S_ISUID : shift == 3 ? S_ISGID : S_ISVTX);
        out += bits & 4 ? 'r' : '-';
        out += bits & 2 ? 'w' : '-';
        if (special == 0) {
            out += bits & 1 ? 'x' : '-';
        } else {
            char letter = shift == 0 ? 't' : 's';
            out += bits & 1 ? letter : static_cast<char>(letter - 'a' + 'A');
        }
    }
    return out;
}

namespace {

constexpr int64_t kNsPerSecond = 1'000'000'000;

std::string format_time(int64_t time_ns, bool utc) {
    int64_t seconds = time_ns / kNsPerSecond;
    int64_t rest = time_ns % kNsPerSecond;
    if (rest < 0) {
        rest += kNsPerSecond;
        --seconds;
    }
    time_t t = seconds;
    struct tm fields = {};
    if ((utc ? gmtime_r(&t, &fields) : localtime_r(&t, &fields)) == nullptr) return std::to_string(seconds);
    char text[64];
    size_t length = strftime(text, sizeof text, utc ? "%Y-%m-%dT%H:%M:%S" : "%Y-%m-%d %H:%M:%S", &fields);
    std::string out(text, length);
    if (utc) {
        snprintf(text, sizeof text, ".%09lldZ", static_cast<long long>(rest));
        out += text;
    }
    return out;
}

}  // namespace

std::string local_time(int64_t time_ns) { return format_time(time_ns, false); }

std::string utc_time(int64_t time_ns) { return format_time(time_ns, true); }

std::string table(const std::vector<std::vector<std::string>>& rows, const std::vector<bool>& right,
                  std::string_view gap) {
    // Width in characters, not bytes: labels may be in any script. Wide glyphs count as one.
    auto width_of = [](const std::string& text) {
        return static_cast<size_t>(
            std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xc0) != 0x80; }));
    };
    std::vector<size_t> widths;
    for (const auto& row : rows) {
        widths.resize(std::max(widths.size(), row.size()));
        for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], width_of(row[i]));
    }
    std::string out;
    for (const auto& row : rows) {
        for (size_t i = 0; i < row.size(); ++i) {
            std::string padding(widths[i] - width_of(row[i]), ' ');
            if (i < right.size() && right[i]) {
                out += padding + row[i];
            } else {
                out += row[i];
                if (i + 1 < row.size()) out += padding;
            }
            if (i + 1 < row.size()) out += gap;
        }
        out += '\n';
    }
    return out;
}

}  // namespace inspect::cli
