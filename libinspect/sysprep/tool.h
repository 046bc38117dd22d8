// SPDX-License-Identifier: LGPL-2.1-or-later
//
// The field's own tools, in the appliance.
#pragma once

#include <string>
#include <vector>

#include <inspect/session.h>

namespace inspect {

// Runs one, and throws Error(kInternal) "cannot WHAT: ..." with what it said if it fails. `bare_disks`: with
// nothing put together (RunOptions).
void run_tool(Session& session, std::vector<std::string> arguments, bool bare_disks, const std::string& what);

}  // namespace inspect
