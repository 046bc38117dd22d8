// SPDX-License-Identifier: GPL-2.0-or-later
#include "mount_options.h"

#include <sys/mount.h>

namespace inspect::agent {

namespace {

struct FlagOption {
    std::string_view name;
    unsigned long set;
    unsigned long clear;
};

constexpr FlagOption kFlagOptions[] = {
    {"ro", MS_RDONLY, 0},
    {"rw", 0, MS_RDONLY},
    {"noatime", MS_NOATIME, MS_RELATIME | MS_STRICTATIME},
    {"atime", 0, MS_NOATIME},
    {"relatime", MS_RELATIME, MS_NOATIME | MS_STRICTATIME},
    {"norelatime", 0, MS_RELATIME},
    {"strictatime", MS_STRICTATIME, MS_NOATIME | MS_RELATIME},
    {"nostrictatime", 0, MS_STRICTATIME},
    {"lazytime", MS_LAZYTIME, 0},
    {"nolazytime", 0, MS_LAZYTIME},
    {"nodiratime", MS_NODIRATIME, 0},
    {"diratime", 0, MS_NODIRATIME},
    {"sync", MS_SYNCHRONOUS, 0},
    {"async", 0, MS_SYNCHRONOUS},
    {"dirsync", MS_DIRSYNC, 0},
    {"nosuid", MS_NOSUID, 0},
    {"noexec", MS_NOEXEC, 0},
    {"nodev", MS_NODEV, 0},
    {"nosymfollow", 0x100, 0},
    // The agent never runs or opens what is in a guest, and mounts nosuid and nodev whatever is asked for.
    {"suid", 0, 0},
    {"dev", 0, 0},
    {"exec", 0, MS_NOEXEC},
    {"mand", 0, 0},
    {"nomand", 0, 0},
    {"silent", MS_SILENT, 0},
    {"loud", 0, MS_SILENT},
    // What only mount(8) and systemd look at.
    {"defaults", 0, 0},
    {"auto", 0, 0},
    {"noauto", 0, 0},
    {"user", 0, 0},
    {"nouser", 0, 0},
    {"users", 0, 0},
    {"owner", 0, 0},
    {"group", 0, 0},
    {"nofail", 0, 0},
    {"_netdev", 0, 0},
};

}  // namespace

bool MountOptions::read_only() const { return flags & MS_RDONLY; }

void MountOptions::add(std::string_view option) {
    if (option.empty() || option.starts_with("x-") || option.starts_with("X-") ||
        option.starts_with("comment="))
        return;
    for (const FlagOption& known : kFlagOptions) {
        if (option != known.name) continue;
        flags = (flags & ~known.clear) | known.set;
        return;
    }
    if (!data.empty()) data += ',';
    data += option;
}

void MountOptions::add_all(std::string_view options) {
    size_t start = 0;
    bool quoted = false;
    for (size_t i = 0; i <= options.size(); ++i) {
        if (i < options.size() && options[i] == '"') quoted = !quoted;
        if (i < options.size() && (options[i] != ',' || quoted)) continue;
        add(options.substr(start, i - start));
        start = i + 1;
    }
}

bool MountOptions::has(std::string_view name) const {
    size_t at = 0;
    while (at <= data.size()) {
        size_t comma = std::string_view(data).find(',', at);
        if (comma == std::string::npos) comma = data.size();
        std::string_view option = std::string_view(data).substr(at, comma - at);
        if (option.substr(0, option.find('=')) == name) return true;
        at = comma + 1;
    }
    return false;
}

}  // namespace inspect::agent
