// SPDX-License-Identifier: LGPL-2.1-or-later
#include "base/log.h"

#include <unistd.h>

#include <atomic>
#include <string>

namespace inspect {

namespace {
std::atomic<LogLevel> g_level{LogLevel::kQuiet};
}

void set_log_level(LogLevel level) noexcept { g_level.store(level, std::memory_order_relaxed); }
LogLevel log_level() noexcept { return g_level.load(std::memory_order_relaxed); }

void log(LogLevel level, std::string_view message) noexcept {
    if (level == LogLevel::kQuiet || level > log_level()) return;
    try {
        std::string line = "libinspect: ";
        line += message;
        line += '\n';
        [[maybe_unused]] ssize_t n = ::write(STDERR_FILENO, line.data(), line.size());
    } catch (...) {  // no memory for a diagnostic: do without it
    }
}

}  // namespace inspect
