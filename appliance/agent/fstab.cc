// SPDX-License-Identifier: GPL-2.0-or-later
#include "fstab.h"

#include <algorithm>
#include <cstddef>

namespace inspect::agent {

namespace {

constexpr size_t kMaxEntries = 256;

// A block device by what it is called: everything else is a network share, a pseudo file system or a
// directory.
bool names_a_device(const FstabEntry& entry) {
    for (std::string_view prefix : {"/dev/", "UUID=", "LABEL=", "PARTUUID=", "PARTLABEL="}) {
        if (entry.spec.starts_with(prefix)) return true;
    }
    return false;
}

// "/a//b/" -> "/a/b"; empty when it isn't a path that may be mounted on.
std::string normal_path(std::string_view path) {
    if (path.empty() || path[0] != '/') return {};
    std::string out;
    for (size_t at = 0; at < path.size();) {
        size_t slash = std::min(path.find('/', at), path.size());
        std::string_view part = path.substr(at, slash - at);
        at = slash + 1;
        if (part == "..") return {};
        if (!part.empty() && part != ".") out.append("/").append(part);
    }
    return out.empty() ? "/" : out;
}

ptrdiff_t depth(const std::string& path) {
    return path == "/" ? 0 : std::count(path.begin(), path.end(), '/');
}

}  // namespace

bool FstabEntry::has_option(std::string_view name) const {
    std::string_view all = options;
    for (size_t at = 0; at <= all.size();) {
        size_t comma = std::min(all.find(',', at), all.size());
        if (all.substr(at, comma - at) == name) return true;
        at = comma + 1;
    }
    return false;
}

std::string FstabEntry::option_value(std::string_view name) const {
    std::string_view all = options;
    for (size_t at = 0; at < all.size();) {
        size_t comma = std::min(all.find(',', at), all.size());
        std::string_view option = all.substr(at, comma - at);
        at = comma + 1;
        if (option.size() > name.size() && option.starts_with(name) && option[name.size()] == '=')
            return std::string(option.substr(name.size() + 1));
    }
    return {};
}

std::string decode_octal(std::string_view text) {
    std::string out;
    auto digit = [&](size_t i) {
        return i < text.size() && text[i] >= '0' && text[i] <= '7' ? text[i] - '0' : -1;
    };
    for (size_t i = 0; i < text.size(); ++i) {
        if (text[i] == '\\' && digit(i + 1) >= 0 && digit(i + 1) <= 3 && digit(i + 2) >= 0 &&
            digit(i + 3) >= 0) {
            out += static_cast<char>(digit(i + 1) * 64 + digit(i + 2) * 8 + digit(i + 3));
            i += 3;
        } else {
            out += text[i];
        }
    }
    return out;
}

std::vector<FstabEntry> parse_fstab(std::string_view text) {
    std::vector<FstabEntry> entries;
    for (size_t at = 0; at < text.size() && entries.size() < kMaxEntries;) {
        size_t end = std::min(text.find('\n', at), text.size());
        std::string_view line = text.substr(at, end - at);
        at = end + 1;
        std::string fields[4];
        size_t count = 0;
        for (size_t i = 0; i < line.size() && count < 4;) {
            if (line[i] == ' ' || line[i] == '\t' || line[i] == '\r') {
                ++i;
                continue;
            }
            if (count == 0 && line[i] == '#') break;
            size_t start = i;
            while (i < line.size() && line[i] != ' ' && line[i] != '\t' && line[i] != '\r') ++i;
            fields[count++] = decode_octal(line.substr(start, i - start));
        }
        if (count < 2) continue;
        FstabEntry entry{fields[0], normal_path(fields[1]), fields[2], fields[3]};
        if (entry.path.empty() || entry.path.find('\0') != std::string::npos || !names_a_device(entry))
            continue;
        if (entry.type == "swap" || entry.type == "ignore" || entry.has_option("noauto")) continue;
        if (entry.has_option("bind") || entry.has_option("rbind")) continue;
        std::erase_if(entries, [&](const FstabEntry& other) { return other.path == entry.path; });
        entries.push_back(std::move(entry));
    }
    std::stable_sort(entries.begin(), entries.end(),
                     [](const FstabEntry& a, const FstabEntry& b) { return depth(a.path) < depth(b.path); });
    return entries;
}

}  // namespace inspect::agent
