// SPDX-License-Identifier: LGPL-2.1-or-later
#include "sysprep/user_accounts.h"

#include <charconv>
#include <functional>
#include <map>
#include <optional>

namespace inspect {

namespace {

std::vector<std::string_view> split(std::string_view text, char at) {
    std::vector<std::string_view> parts;
    for (size_t begin = 0;;) {
        const size_t end = text.find(at, begin);
        parts.push_back(text.substr(begin, end - begin));
        if (end == text.npos) return parts;
        begin = end + 1;
    }
}

// With its end, if it has one.
void for_each_line(std::string_view text, const std::function<void(std::string_view)>& work) {
    while (!text.empty()) {
        const size_t length = std::min(text.find('\n'), text.size() - 1) + 1;
        work(text.substr(0, length));
        text.remove_prefix(length);
    }
}

std::string_view without_end(std::string_view line) {
    if (line.ends_with('\n')) line.remove_suffix(1);
    return line;
}

std::optional<uint64_t> number_of(std::string_view text) {
    uint64_t number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (text.empty() || error != std::errc() || end != text.data() + text.size()) return std::nullopt;
    return number;
}

// Of "  KEY  value  # comment".
std::optional<uint64_t> setting_of(std::string_view line, std::string_view key) {
    constexpr std::string_view kBlanks = " \t";
    line.remove_prefix(std::min(line.find_first_not_of(kBlanks), line.size()));
    if (!line.starts_with(key)) return std::nullopt;
    line.remove_prefix(key.size());
    const size_t begin = line.find_first_not_of(kBlanks);
    if (begin == 0 || begin == line.npos) return std::nullopt;
    line.remove_prefix(begin);
    return number_of(line.substr(0, line.find_first_of(" \t\r#")));
}

// "/home/alice", without a slash at the end: a directory below another one.
bool is_own_directory(std::string_view home) {
    return home.size() > 1 && home.front() == '/' && home.find('/', 1) != home.npos &&
           home.find("//") == home.npos && home.find("/.") == home.npos;
}

}  // namespace

UidRange uid_range(std::string_view login_defs) {
    UidRange range;
    for_each_line(login_defs, [&](std::string_view line) {
        line = without_end(line);
        if (const auto first = setting_of(line, "UID_MIN")) range.first = *first;
        if (const auto last = setting_of(line, "UID_MAX")) range.last = *last;
    });
    return range;
}

UserAccounts accounts_to_remove(std::string_view passwd, const UidRange& range,
                                const std::set<std::string>& kept, const std::set<std::string>& wanted) {
    constexpr size_t kUid = 2, kHome = 5;
    UserAccounts accounts;
    std::set<std::string> homes, others;
    for_each_line(passwd, [&](std::string_view line) {
        const auto fields = split(without_end(line), ':');
        if (fields.size() <= kHome || fields[0].empty()) return;
        const std::string name(fields[0]);
        std::string home(fields[kHome]);
        while (home.size() > 1 && home.ends_with('/')) home.pop_back();
        const auto uid = number_of(fields[kUid]);
        const bool goes = uid && *uid >= range.first && *uid <= range.last && *uid != 0 &&
                          !kept.contains(name) && (wanted.empty() || wanted.contains(name));
        if (goes) accounts.names.insert(name);
        (goes ? homes : others).insert(home);
    });
    for (const std::string& home : homes) {
        // Nor one in which somebody else's lies.
        bool shared = others.contains(home) || !is_own_directory(home);
        for (const std::string& other : others) shared |= other.starts_with(home + "/");
        if (!shared) accounts.homes.push_back(home);
    }
    return accounts;
}

std::string without_users(std::string_view text, const std::set<std::string>& users) {
    std::string result;
    for_each_line(text, [&](std::string_view line) {
        const size_t colon = line.find(':');
        if (colon == line.npos || !users.contains(std::string(line.substr(0, colon)))) result += line;
    });
    return result;
}

std::string without_members(std::string_view text, const std::set<std::string>& users) {
    std::string result;
    for_each_line(text, [&](std::string_view line) {
        const std::string_view whole = without_end(line);
        const size_t list = whole.rfind(':');
        if (list == whole.npos) {
            result += line;
            return;
        }
        if (users.contains(std::string(whole.substr(0, whole.find(':'))))) return;
        std::string members;
        for (const std::string_view member : split(whole.substr(list + 1), ','))
            if (!member.empty() && !users.contains(std::string(member)))
                members += (members.empty() ? "" : ",") + std::string(member);
        result += std::string(whole.substr(0, list + 1)) + members + std::string(line.substr(whole.size()));
    });
    return result;
}

}  // namespace inspect
