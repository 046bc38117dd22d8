// SPDX-License-Identifier: LGPL-2.1-or-later
//
// The 64-bit Linux boot protocol (Documentation/x86/boot.rst, "64-bit Boot Protocol"), straight into a
// vmlinux: no firmware, no boot loader, no real mode.
#pragma once

#include <linux/kvm.h>

#include <cstdint>
#include <string>

#include "vmm/elf_loader.h"
#include "vmm/guest_memory.h"

namespace inspect {

// The longest command line that an x86 kernel takes, without its end (COMMAND_LINE_SIZE - 1).
inline constexpr size_t kMaxCommandLine = 2047;

// Writes the initrd (near the end of low memory), boot_params with the memory map, the command line, page
// tables that map the first GiB to itself, and a GDT. All but the initrd are below 1 MiB. Throws Error:
// kUsage for a command line that is too long, kNoSpace when the initrd does not fit beside the kernel.
void prepare_boot(const GuestMemory& memory, const LoadedKernel& kernel, const ByteSource& initrd,
                  const std::string& command_line);

// The registers to start with, from the ones that KVM gave a new vCPU.
void set_boot_registers(const LoadedKernel& kernel, kvm_regs& regs, kvm_sregs& sregs);

}  // namespace inspect
