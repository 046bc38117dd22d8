// SPDX-License-Identifier: GPL-2.0-or-later
#include "log.h"

#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <utility>

namespace inspect::agent {

namespace {

Fd log_fd;
bool is_verbose = false;

// One write a line, which is what /dev/kmsg wants; "<3>" (shown even with `quiet`) and "<6>" are levels.
void write_line(std::string_view level, std::string_view line) {
    if (!log_fd) return;
    char buffer[900];  // the kernel's own bound is 1024
    size_t size = 0;
    auto put = [&](std::string_view text) {
        size_t n = std::min(text.size(), sizeof buffer - size - 1);
        std::memcpy(buffer + size, text.data(), n);
        size += n;
    };
    put(level);
    put("agent: ");
    put(line);
    buffer[size++] = '\n';
    if (::write(log_fd.get(), buffer, size) < 0) return;  // nowhere to tell
}

}  // namespace

void set_log(Fd fd) noexcept { log_fd = std::move(fd); }
void set_log_verbose(bool verbose) noexcept { is_verbose = verbose; }
bool log_verbose() noexcept { return is_verbose; }
void note(std::string_view line) noexcept {
    if (is_verbose) write_line("<6>", line);
}
void complain(std::string_view line) noexcept { write_line("<3>", line); }

}  // namespace inspect::agent
