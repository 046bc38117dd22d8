// SPDX-License-Identifier: LGPL-2.1-or-later
//
// The engine's view of a session's options that has no opened disks.
#pragma once

#include <inspect/session.h>

#include "engine/engine.h"

namespace inspect {

// Of the disks, their number alone counts. Throws Error(kUsage) for an engine that there is not.
EngineOptions appliance_options(const SessionOptions& options);

}  // namespace inspect
