// SPDX-License-Identifier: LGPL-2.1-or-later
//
// KvmState: all that KVM holds of a virtual machine with one vCPU and KVM's interrupt controllers, read from
// it and put back into another. The order of the calls matters to KVM and is that of kvm_state.cc.
#pragma once

#include <linux/kvm.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "vmm/kvm_flexible.h"
#include "vmm/state_stream.h"

namespace inspect {

class KvmState {
  public:
    // Reads the state of a vCPU that does not run and whose last exit is completed. Leaves out the MSRs that
    // KVM lists but does not take back. Throws Error(kEngine).
    static KvmState capture(int kvm_fd, int vm_fd, int vcpu_fd);

    // Puts it into a fresh VM. Throws Error(kCorrupt) when KVM refuses any of it: the snapshot is then of
    // another host.
    void restore(int vm_fd, int vcpu_fd) const;

    void save(StateWriter& out) const;
    static KvmState load(StateReader& in);

  private:
    static constexpr uint32_t kMaxMsrs = 1024, kMaxCpuid = 256;

    std::vector<kvm_cpuid_entry2> cpuid_;
    uint32_t tsc_khz_ = 0;
    kvm_mp_state mp_state_{};
    kvm_regs regs_{};
    kvm_sregs sregs_{};
    alignas(64)
        std::array<std::byte, kKvmXsaveBytes> xsave_{};  // a kvm_xsave, all of it that a guest here can have
    kvm_xcrs xcrs_{};
    kvm_debugregs debugregs_{};
    kvm_lapic_state lapic_{};
    std::vector<kvm_msr_entry> msrs_;
    kvm_vcpu_events events_{};
    kvm_clock_data clock_{};
    std::array<kvm_irqchip, 3> irqchips_{};  // PIC master, PIC slave, IOAPIC
};

// What a pending deadline of the local APIC's timer becomes in a VM whose TSC was `saved_tsc` when it was
// saved and is `tsc` after KVM was told so. A software KVM doesn't take it: its guests see the host's, by
// which the deadline is long past or, when the host was booted since, days away. Then it is due now, and the
// guest sets another. 0 is none.
uint64_t restored_deadline(uint64_t deadline, uint64_t saved_tsc, uint64_t tsc);

}  // namespace inspect
