// SPDX-License-Identifier: LGPL-2.1-or-later
#include "customize/host_name.h"

#include <algorithm>

namespace inspect {

namespace {

bool is_letter_or_digit(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

std::string_view short_name(std::string_view name) { return name.substr(0, name.find('.')); }

bool is_blank(char c) { return c == ' ' || c == '\t'; }

}  // namespace

bool is_host_name(std::string_view name) {
    constexpr size_t kMost = 64;  // HOST_NAME_MAX
    if (name.empty() || name.size() > kMost) return false;
    bool begins = true;
    for (size_t i = 0; i < name.size(); ++i) {
        const bool ends = i + 1 == name.size() || name[i + 1] == '.';
        if (name[i] == '.') {
            if (begins) return false;
            begins = true;
        } else {
            if (!is_letter_or_digit(name[i]) && (name[i] != '-' || begins || ends)) return false;
            begins = false;
        }
    }
    return !begins;
}

std::string name_in_hostname_file(std::string_view text) {
    for (size_t at = 0; at < text.size();) {
        const size_t end = std::min(text.find('\n', at), text.size());
        std::string_view line = text.substr(at, end - at);
        at = end + 1;
        while (!line.empty() && (is_blank(line.front()) || line.front() == '\r')) line.remove_prefix(1);
        if (line.empty() || line.front() == '#') continue;
        return std::string(line.substr(0, line.find_first_of(" \t\r")));
    }
    return {};
}

std::string hosts_with_name(std::string_view hosts, std::string_view old_name, std::string_view new_name) {
    if (old_name.empty() || short_name(old_name) == "localhost") return std::string(hosts);
    std::string result;
    bool comment = false;
    for (size_t at = 0; at < hosts.size();) {
        const char c = hosts[at];
        if (c == '\n') comment = false;
        if (c == '#') comment = true;
        if (comment || c == '\n' || is_blank(c)) {
            result += c;
            ++at;
            continue;
        }
        const size_t end = std::min(hosts.find_first_of(" \t\n#", at), hosts.size());
        const std::string_view word = hosts.substr(at, end - at);
        const std::string_view bare = short_name(old_name);
        if (word == old_name) {
            result += new_name;
        } else if (word == bare) {
            result += short_name(new_name);
        } else if (word.starts_with(bare) && word[bare.size()] == '.') {
            // The old name in its domain, where that isn't part of the name.
            result += new_name.find('.') == new_name.npos
                          ? std::string(new_name) + std::string(word.substr(bare.size()))
                          : std::string(new_name);
        } else {
            result += word;
        }
        at = end;
    }
    return result;
}

std::optional<std::string> sysconfig_with_name(std::string_view text, std::string_view new_name) {
    constexpr std::string_view kKey = "HOSTNAME=";
    for (size_t at = 0; at < text.size();) {
        const size_t end = std::min(text.find('\n', at), text.size());
        if (text.substr(at, end - at).starts_with(kKey))
            return std::string(text.substr(0, at)) + std::string(kKey) + std::string(new_name) +
                   std::string(text.substr(end));
        at = end + 1;
    }
    return std::nullopt;
}

}  // namespace inspect
