// SPDX-License-Identifier: GPL-2.0-or-later
#include "cli/appliance_script.h"

#include <algorithm>
#include <cstring>

#include "cli/program.h"
#include "cli/text.h"

namespace inspect::cli {
namespace {

constexpr size_t kMostOutput = 4 << 20;
constexpr size_t kMostWords = 1000;

Sink collector(std::string& text) {
    return [&text](std::span<const std::byte> bytes) {
        if (text.size() + bytes.size() > kMostOutput)
            throw Error(ErrorKind::kEngine, "a program in the appliance says more than it should");
        text.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    };
}

}  // namespace

std::string ScriptResult::last_words() const {
    std::string words = errors.empty() ? output : errors;
    while (!words.empty() && words.back() == '\n') words.pop_back();
    if (words.size() > kMostWords) words = "..." + words.substr(words.size() - kMostWords);
    std::string shown;
    for (size_t begin = 0; begin < words.size();) {
        size_t end = std::min(words.find('\n', begin), words.size());
        shown += (shown.empty() ? "" : "; ") + escape_message(words.substr(begin, end - begin));
        begin = end + 1;
    }
    return shown.empty() ? "exit code " + std::to_string(exit_code) : shown;
}

ScriptResult run_script(Guest& guest, const Script& script) {
    ScriptResult result;
    RunOptions options;
    options.arguments = {"/bin/sh", "-c", script.text, "sh"};
    options.arguments.insert(options.arguments.end(), script.arguments.begin(), script.arguments.end());
    options.bare_disks = script.bare_disks;
    options.on_output = collector(result.output);
    options.on_error_output = collector(result.errors);
    if (!script.input.empty()) {
        options.input = [&, at = size_t{0}](std::span<std::byte> buffer) mutable -> std::optional<size_t> {
            size_t count = std::min(buffer.size(), script.input.size() - at);
            std::memcpy(buffer.data(), script.input.data() + at, count);
            at += count;
            return count;
        };
    }
    RunResult ran = guest.call("run", {script.text}).run(options);
    if (!ran.not_started.empty()) throw Error(ErrorKind::kEngine, ran.not_started);
    result.exit_code = exit_code_of(ran);
    return result;
}

ScriptResult must_run_script(Guest& guest, const Script& script, const std::string& what, ErrorKind kind) {
    ScriptResult result = run_script(guest, script);
    if (!result.succeeded()) throw Error(kind, what + ": " + result.last_words());
    return result;
}

}  // namespace inspect::cli
