// SPDX-License-Identifier: LGPL-2.1-or-later
//
// What the guest is told about its CPU. (A KVM without hardware virtualization ignores it and shows the
// host's; there the kernel's command line hides what must be hidden.)
#pragma once

#include <linux/kvm.h>

#include <vector>

namespace inspect {

// What KVM offers, less what an appliance has no use for and what would make snapshots larger, slower or
// wrong: performance counters, monitor/mwait, nested virtualization, register state beyond AVX, and
// asynchronous page faults, whose answers would be lost between a snapshot and its restore. KVM's own leaves
// stay, for its clock. Throws Error(kEngine).
std::vector<kvm_cpuid_entry2> guest_cpuid(int kvm_fd);

// The filter by itself.
void filter_cpuid(std::vector<kvm_cpuid_entry2>& entries);

// KVM_SET_CPUID2.
void set_cpuid(int vcpu_fd, const std::vector<kvm_cpuid_entry2>& entries);

}  // namespace inspect
