// SPDX-License-Identifier: GPL-2.0-or-later
//
// The agent's diagnostics: lines in the kernel's log, which the VMM shows with -v or when something failed.
#pragma once

#include <string_view>

#include "base/fd.h"

namespace inspect::agent {

// Where the lines go; without it (on a host) they are dropped. Open to the end, for what went wrong before
// that.
void set_log(Fd fd) noexcept;
// Off at first. note() then says nothing: the hot path has no system call for it.
void set_log_verbose(bool verbose) noexcept;
bool log_verbose() noexcept;

// For -v.
void note(std::string_view line) noexcept;
// Always: something is wrong with the appliance itself.
void complain(std::string_view line) noexcept;

}  // namespace inspect::agent
