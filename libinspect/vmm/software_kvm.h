// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Completes what the emulator of a KVM without hardware virtualization lacks.
//
// Such a KVM (pagetable virtualization) runs the guest's user mode natively and emulates its kernel mode with
// KVM's instruction emulator, which was made for device accesses and real mode. It stops with
// KVM_INTERNAL_ERROR_EMULATION, RIP still at the instruction. A Linux kernel that keeps off the newer
// extensions meets three such instructions:
//
//   int3     Linux patches its own code with it in place. A #BP is injected with RIP behind it, as the CPU
//            would do.
//   fwait    Waits for x87 exceptions; the kernel does no x87 arithmetic, so there are none.
//   ldmxcsr  Sets the SSE rounding mode before the kernel itself calculates with SSE, which can't work there
//            anyway; user programs' MXCSR comes and goes with FXSAVE and FXRSTOR, which are emulated.
//            Skipped.
//
// Everything else ends the guest, with a report that has RIP and the bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "vmm/guest_memory.h"
#include "vmm/vcpu.h"

namespace inspect {

enum class Lacking { kNothing, kBreakpoint, kFwait, kLdmxcsr };

struct LackingInstruction {
    Lacking kind;
    unsigned length;  // bytes, prefixes included; 0 for kNothing
};

// Decodes one instruction of 64-bit code. `bytes` may hold more than it, or too little: then kNothing.
// Format: Intel SDM volume 2, chapter 2.
LackingInstruction decode_lacking(std::span<const std::byte> bytes) noexcept;

// Completes the instruction at which KVM_RUN just ended with KVM_INTERNAL_ERROR_EMULATION. Returns an empty
// string when the guest can go on, else the report.
std::string complete_instruction(Vcpu& vcpu, const GuestMemory& memory);

// "at RIP ffffffff81000000, bytes 0f c7 f0 ..." for messages about the instruction at RIP.
std::string describe_instruction(Vcpu& vcpu, const GuestMemory& memory);

}  // namespace inspect
