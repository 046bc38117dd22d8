// SPDX-License-Identifier: LGPL-2.1-or-later
//
// The agent's first words after a boot.
#pragma once

#include <chrono>

#include "engine/channel.h"

namespace inspect {

// Waits for them. Throws Error(kEngine) when they don't come in time, or aren't those of this version.
void await_hello(Channel& channel, std::chrono::milliseconds timeout);

}  // namespace inspect
