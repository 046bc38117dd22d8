// SPDX-License-Identifier: LGPL-2.1-or-later
#include "sysprep/tool.h"

namespace inspect {

void run_tool(Session& session, std::vector<std::string> arguments, bool bare_disks,
              const std::string& what) {
    std::string output, errors;
    constexpr size_t kMostShown = 2000;
    const auto keep = [](std::string& text) {
        return [&text](std::span<const std::byte> bytes) {
            if (text.size() < kMostShown)
                text.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
        };
    };
    RunOptions options;
    options.arguments = std::move(arguments);
    options.bare_disks = bare_disks;
    options.on_output = keep(output);
    options.on_error_output = keep(errors);
    const RunResult result = session.run(options);
    if (result.succeeded()) return;
    std::string why = !result.not_started.empty() ? result.not_started
                      : result.signal != 0        ? "signal " + std::to_string(result.signal)
                                                  : "exit status " + std::to_string(result.exit_status);
    if (!errors.empty()) why += "; " + errors;
    if (errors.empty() && !output.empty()) why += "; " + output;
    while (why.ends_with('\n')) why.pop_back();
    throw Error(ErrorKind::kInternal, "cannot " + what + ": " + why);
}

}  // namespace inspect
