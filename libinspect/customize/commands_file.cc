// SPDX-License-Identifier: LGPL-2.1-or-later
#include <inspect/customize.h>

#include "customize/steps.h"

namespace inspect {

std::vector<CustomizeStep> parse_customize_commands(std::string_view text, const std::string& name) {
    std::vector<CustomizeStep> steps;
    size_t number = 0;
    for (size_t at = 0; at < text.size();) {
        std::string line;
        const size_t first = number + 1;
        bool goes_on = true;
        while (goes_on && at < text.size()) {
            const size_t end = std::min(text.find('\n', at), text.size());
            std::string_view piece = text.substr(at, end - at);
            at = end + 1;
            ++number;
            goes_on = piece.ends_with('\\');
            if (goes_on) piece.remove_suffix(1);
            line += piece;
        }
        const size_t begin = line.find_first_not_of(" \t\r");
        if (begin == line.npos || line[begin] == '#') continue;
        const size_t end = std::min(line.find_first_of(" \t", begin), line.size());
        const size_t argument = std::min(line.find_first_not_of(" \t", end), line.size());
        CustomizeStep step{line.substr(begin, end - begin), line.substr(argument)};
        if (step.argument.ends_with('\r')) step.argument.pop_back();
        if (!find_customize_operation(step.operation))
            throw Error(ErrorKind::kUsage, name + ", line " + std::to_string(first) +
                                               ": there is no operation '" + step.operation + "'");
        steps.push_back(std::move(step));
    }
    return steps;
}

std::vector<CustomizeStep> read_customize_file(const std::string& path) {
    constexpr size_t kMost = 16 << 20;
    return parse_customize_commands(read_input(path, kMost), "'" + path + "'");
}

}  // namespace inspect
