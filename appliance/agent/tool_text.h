// SPDX-License-Identifier: GPL-2.0-or-later
//
// What programs print, in lines and fields.
#pragma once

#include <algorithm>
#include <string_view>

namespace inspect::agent {

// Calls `line` with each line of the text, without its end.
template <typename Line>
void for_each_line(std::string_view text, Line line) {
    for (size_t at = 0; at < text.size();) {
        const size_t end = std::min(text.find('\n', at), text.size());
        line(text.substr(at, end - at));
        at = end + 1;
    }
}

inline std::string_view without_blanks(std::string_view text) {
    text.remove_prefix(std::min(text.find_first_not_of(' '), text.size()));
    return text.substr(0, text.find_last_not_of(' ') + 1);
}

}  // namespace inspect::agent
