// SPDX-License-Identifier: GPL-2.0-or-later
//
// The values that the command line gives options. What is wrong with one is a UsageError: exit code 2.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>

#include "cli/command.h"

namespace inspect::cli {

// What the library calls wrong usage is the command line's in here, where it is only looked at: nothing was
// started. `what` stands before the message.
template <typename Work>
auto as_usage(Work work, std::string_view what = {}) {
    try {
        return work();
    } catch (const UsageError&) {
        throw;
    } catch (const Error& error) {
        if (error.kind() != ErrorKind::kUsage) throw;
        throw UsageError(std::string(what) + error.message());
    }
}

// A decimal number of at most `most`; nullopt where the option isn't given.
std::optional<uint64_t> number_of(const Arguments& arguments, const char* option, uint64_t most);

// One of these words; `otherwise` where the option isn't given, or has no value.
std::string one_of(const Arguments& arguments, const char* option,
                   std::initializer_list<std::string_view> words, std::string_view otherwise);

}  // namespace inspect::cli
