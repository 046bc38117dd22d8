// SPDX-License-Identifier: GPL-2.0-or-later
#include "crypttab.h"

#include <algorithm>

namespace inspect::agent {

std::map<std::string, std::string> parse_crypttab(std::string_view text) {
    constexpr std::string_view kBlanks = " \t\r";
    constexpr size_t kMaxEntries = 256;
    std::map<std::string, std::string> entries;
    for (size_t at = 0; at < text.size() && entries.size() < kMaxEntries;) {
        const size_t end = std::min(text.find('\n', at), text.size());
        std::string_view line = text.substr(at, end - at);
        at = end + 1;
        auto word = [&] {
            line.remove_prefix(std::min(line.find_first_not_of(kBlanks), line.size()));
            std::string_view found = line.substr(0, line.find_first_of(kBlanks));
            line.remove_prefix(found.size());
            return found;
        };
        const std::string_view name = word();
        const std::string_view device = word();
        if (name.empty() || name[0] == '#' || device.empty() || name.find('/') != name.npos) continue;
        entries.emplace("/dev/mapper/" + std::string(name), device);
    }
    return entries;
}

}  // namespace inspect::agent
