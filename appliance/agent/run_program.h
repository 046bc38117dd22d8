// SPDX-License-Identifier: GPL-2.0-or-later
//
// RunProgram, see protocol/insp.proto.
#pragma once

#include "operations.h"
#include "program.h"

namespace inspect::agent {

// Runs what the request says. `program` tells where: contained, tree. Throws Failure, or Cancelled when the
// program was killed for that.
void run_program(const Context& context, const proto::RunProgram& request, Program program);

}  // namespace inspect::agent
