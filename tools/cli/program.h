// SPDX-License-Identifier: GPL-2.0-or-later
//
// A program in the appliance that is connected to our own standard streams.
#pragma once

#include <inspect/session.h>

#include "cli/output.h"

namespace inspect::cli {

// Passes stdin to the program, and what it writes to `out` (and to `also`) and to stderr. What is in
// `options` about these is replaced. Throws as Session::run(), and as Output.
RunResult run_on_standard_streams(Session& session, RunOptions options, Output& out, const Sink& also = {});

// As a shell has it: the program's own, or 128 and the number of the signal that it died of.
int exit_code_of(const RunResult& result);

}  // namespace inspect::cli
