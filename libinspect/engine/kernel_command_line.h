// SPDX-License-Identifier: LGPL-2.1-or-later
//
// What the appliance's kernel is told. The reasons are in docs/appliance.md.
#pragma once

#include <string>

namespace inspect {

// The command line for a cold boot under our VMM (which adds its virtio-mmio devices itself).
std::string kernel_command_line(bool software_kvm);
// The same under QEMU; emulated: without KVM (docs/qemu.md).
std::string qemu_kernel_command_line(bool emulated);

}  // namespace inspect
