// SPDX-License-Identifier: LGPL-2.1-or-later
#include "sysprep/group_names.h"

#include <algorithm>

namespace inspect {

namespace {

// lvm(8), "VALID NAMES".
bool is_name(char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '+' ||
           c == '_' || c == '.' || c == '-';
}

std::string doubled(const std::string& name) {
    std::string result;
    for (const char c : name) result.append(c == '-' ? 2 : 1, c);
    return result;
}

// `found` where it stands by itself: nothing of a name is around it.
void replace(std::string& text, const std::string& found, const std::string& replacement) {
    for (size_t at = 0; (at = text.find(found, at)) != text.npos;) {
        const size_t end = at + found.size();
        // Of a path only what is below /dev: another folder may be called like the group.
        const bool below = at > 0 && text[at - 1] == '/';
        const bool begins = at == 0 || !is_name(text[at - 1]);
        const bool ends = end == text.size() || !is_name(text[end]);
        const bool device = !below || (at >= 5 && text.compare(at - 5, 5, "/dev/") == 0);
        if (begins && ends && device) {
            text.replace(at, found.size(), replacement);
            at += replacement.size();
        } else {
            at = end;
        }
    }
}

// `prefix` + `found`, the end of a name after it; of a unit's, that may be the dot before its kind.
void replace_after(std::string& text, const std::string& prefix, const std::string& found,
                   const std::string& replacement, bool unit = false) {
    const std::string whole = prefix + found;
    for (size_t at = 0; (at = text.find(whole, at)) != text.npos;) {
        const size_t end = at + whole.size();
        const bool ends = end == text.size() || !is_name(text[end]) || (unit && text[end] == '.');
        if (ends) text.replace(at + prefix.size(), found.size(), replacement);
        at += prefix.size() + (ends ? replacement.size() : found.size());
    }
}

}  // namespace

std::string systemd_escaped(const std::string& name) {
    std::string result;
    for (const char c : name) result += c == '-' ? "\\x2d" : std::string(1, c);
    return result;
}

std::string replace_group(std::string_view text, const std::string& old_name, const std::string& new_name,
                          const std::vector<std::string>& volumes) {
    std::string result(text);
    for (const std::string& volume : volumes) {
        replace(result, old_name + "/" + volume, new_name + "/" + volume);
        const std::string mapped = doubled(old_name) + "-" + doubled(volume);
        const std::string new_mapped = doubled(new_name) + "-" + doubled(volume);
        for (const char* prefix : {"/dev/mapper/", "lvm/"}) replace_after(result, prefix, mapped, new_mapped);
        replace_after(result, "dev-mapper-", systemd_escaped(mapped), systemd_escaped(new_mapped), true);
        replace_after(result, "dev-", systemd_escaped(old_name) + "-" + systemd_escaped(volume),
                      systemd_escaped(new_name) + "-" + systemd_escaped(volume), true);
    }
    replace_after(result, "rd.lvm.vg=", old_name, new_name);
    return result;
}

std::string as_environment_block(const std::string& before, std::string after) {
    if (!before.starts_with("# GRUB Environment Block\n") || after.size() == before.size()) return after;
    const size_t contents = after.find_last_not_of('#') + 1;
    if (contents > before.size()) return after;
    after.resize(contents);
    after.resize(before.size(), '#');
    return after;
}

}  // namespace inspect
