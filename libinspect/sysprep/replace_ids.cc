// SPDX-License-Identifier: LGPL-2.1-or-later
//
// replace_ids(): identifiers in a text. All replacements have the length of what they replace, so that files
// of a fixed size (GRUB's environment block) keep it.
#include <algorithm>

#include <inspect/new_ids.h>

#include "sysprep/group_names.h"

namespace inspect {

namespace {

constexpr size_t kUuidLength = 36;
constexpr size_t kLvmLength = 38;  // 6-4-4-4-4-4-6 letters and digits

bool is_alnum(char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }
char upper(char c) { return c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c; }

// The new identifier in the case in which the old one was found.
std::string in_case_of(std::string_view found, const std::string& id) {
    const bool has_upper = std::ranges::any_of(found, [](char c) { return c >= 'A' && c <= 'F'; });
    const bool has_lower = std::ranges::any_of(found, [](char c) { return c >= 'a' && c <= 'f'; });
    if (has_upper == has_lower) return id;
    std::string result = id;
    std::ranges::transform(result, result.begin(), has_upper ? upper : lower);
    return result;
}

// `id` is what is looked for; of a short one a dash before it makes it a part of something longer.
void replace_one(std::string& text, const std::string& id, const std::string& new_id, bool exact,
                 bool is_short, bool is_escaped) {
    const auto same = [exact](char a, char b) { return exact ? a == b : lower(a) == lower(b); };
    auto at = text.begin();
    while (true) {
        at = std::search(at, text.end(), id.begin(), id.end(), same);
        if (at == text.end()) return;
        const auto end = at + static_cast<std::ptrdiff_t>(id.size());
        const char before = at == text.begin() ? ' ' : at[-1];
        const char after = end == text.end() ? ' ' : *end;
        const bool whole = (!is_alnum(before) || is_escaped) && !is_alnum(after) && after != '-' &&
                           !(is_short && before == '-');
        if (whole) {
            std::string replacement = exact ? new_id : in_case_of({at, end}, new_id);
            if (is_escaped) replacement = systemd_escaped(replacement);
            std::copy(replacement.begin(), replacement.end(), at);
        }
        at = end;
    }
}

}  // namespace

std::string replace_ids(std::string_view text, const std::vector<std::pair<std::string, std::string>>& ids) {
    // A placeholder would be needed if a new identifier could be another's old one: they are random.
    std::string result(text);
    for (const auto& [old_id, new_id] : ids) {
        if (old_id.empty() || old_id.size() != new_id.size()) continue;
        replace_one(result, old_id, new_id, old_id.size() == kLvmLength, old_id.size() < kUuidLength, false);
        if (old_id.size() == kUuidLength)
            replace_one(result, systemd_escaped(old_id), new_id, false, false, true);
    }
    return result;
}

}  // namespace inspect
