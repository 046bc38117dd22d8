// SPDX-License-Identifier: LGPL-2.1-or-later
//
// The engine "qemu": the appliance in QEMU, for hosts without KVM. docs/qemu.md says why it is as it
// is.
#pragma once

#include <memory>
#include <string>

#include "engine/engine.h"

namespace inspect {

// The path of $INSP_QEMU, else of qemu-system-x86_64. Empty when it isn't installed.
std::string find_qemu();

// See start_machine(). Throws also Error(kNotFound) when QEMU isn't installed, with the package's name. QEMU
// emulates the processor ("tcg"), unless $INSP_QEMU_ACCEL is "kvm".
std::unique_ptr<Machine> start_qemu_machine(const EngineOptions& options);

// As those of kvm_engine.h.
bool make_qemu_snapshot(const EngineOptions& options);
std::string qemu_snapshot_key(const EngineOptions& options);

}  // namespace inspect
