// SPDX-License-Identifier: LGPL-2.1-or-later
//
// The I/O thread of insp-vmm: brings what the engine sends, on the channel to the guest and on the control
// socket to the VM (engine/vmm_process.h describes the requests).
#pragma once

#include <string>

#include "vmm/vm.h"

namespace inspect {

// One packet to the engine; an engine that is gone is not told.
void send_packet(int control, const std::string& text) noexcept;

// Why the thread ended, which the main thread looks at after joining it.
struct IoOutcome {
    bool stop_requested = false;  // by "stop", which is to be answered when the disks are closed
};

// Runs until the VM is stopped, by a request or because one of the sockets is at its end. Never throws: what
// fails here stops the VM.
IoOutcome run_io(Vm& vm, int channel, int control) noexcept;

}  // namespace inspect
