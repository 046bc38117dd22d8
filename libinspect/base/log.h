// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Diagnostics for -v and -x. Results go to stdout and errors are thrown; this is for what happened on the
// way.
#pragma once

#include <string_view>

namespace inspect {

enum class LogLevel { kQuiet, kVerbose, kTrace };

// Process-wide; set once at start. Thread-safe.
void set_log_level(LogLevel level) noexcept;
LogLevel log_level() noexcept;

// Writes "libinspect: MESSAGE\n" to stderr in one write when `level` is enabled. Thread-safe.
void log(LogLevel level, std::string_view message) noexcept;

}  // namespace inspect
