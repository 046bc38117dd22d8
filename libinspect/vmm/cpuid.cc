// SPDX-License-Identifier: LGPL-2.1-or-later
#include "vmm/cpuid.h"

#include <asm/kvm_para.h>

#include <algorithm>

#include "vmm/kvm_call.h"
#include "vmm/kvm_flexible.h"

namespace inspect {

namespace {

constexpr uint32_t kMaxEntries = 256;

constexpr uint32_t bit(unsigned n) { return uint32_t{1} << n; }

void filter(kvm_cpuid_entry2& e) {
    switch (e.function) {
        case 0x1:
            e.ecx &= ~(bit(3) | bit(5) | bit(6) | bit(15));  // MONITOR, VMX, SMX, PDCM
            e.ecx |= bit(24) | bit(31);                      // TSC deadline timer (KVM has it), hypervisor
            e.ebx = (e.ebx & 0xff00) | 1u << 16;             // APIC id 0, one logical processor
            e.edx &= ~bit(28);                               // HTT
            break;
        case 0x7:
            if (e.index == 0) {
                // AVX-512 in all its parts; Intel PT; protection keys, whose register XSAVE would carry.
                e.ebx &= ~(bit(16) | bit(17) | bit(21) | bit(25) | bit(26) | bit(27) | bit(28) | bit(30) |
                           bit(31));
                e.ecx &= ~(bit(1) | bit(3) | bit(4) | bit(6) | bit(11) | bit(12) | bit(14));
                e.edx &= ~(bit(2) | bit(3) | bit(8) | bit(22) | bit(23) | bit(24) | bit(25));  // and AMX
            } else {
                e.eax = e.ebx = e.ecx = e.edx = 0;
            }
            break;
        case 0xa:  // performance counters
        case 0x14:
        case 0x1d:
        case 0x1e:
            e.eax = e.ebx = e.ecx = e.edx = 0;
            break;
        case 0xb:
        case 0x1f:  // topology: one thread, one core
            e.eax = 0;
            e.ebx = 1;
            e.edx = 0;
            break;
        case 0xd:
            if (e.index == 0) {
                e.eax &= 7;  // x87, SSE, AVX
                e.edx = 0;
                e.ebx = e.ecx = (e.eax & 4) ? 832 : 576;
            } else if (e.index == 1) {
                e.eax &= ~bit(3) & ~bit(4);  // XSAVES, XFD
                e.ebx = e.ecx = e.edx = 0;
            } else if (e.index > 2) {
                e.eax = e.ebx = e.ecx = e.edx = 0;
            }
            break;
        case 0x40000001:
            e.eax &= ~(bit(KVM_FEATURE_ASYNC_PF) | bit(KVM_FEATURE_ASYNC_PF_VMEXIT) |
                       bit(KVM_FEATURE_ASYNC_PF_INT) | bit(KVM_FEATURE_STEAL_TIME));
            break;
        case 0x80000001:
            e.ecx &= ~(bit(2) | bit(23) | bit(24) | bit(28));  // SVM, performance counters
            break;
        case 0x80000008:
            e.ecx = 0;  // one core
            break;
        case 0x8000000a:  // SVM
        case 0x80000022:  // performance monitoring
            e.eax = e.ebx = e.ecx = e.edx = 0;
            break;
        default:
            break;
    }
}

}  // namespace

void filter_cpuid(std::vector<kvm_cpuid_entry2>& entries) { std::ranges::for_each(entries, filter); }

std::vector<kvm_cpuid_entry2> guest_cpuid(int kvm_fd) {
    KvmCpuidList list(kMaxEntries);
    kvm_call(kvm_fd, kKvmGetSupportedCpuid, list.head(), "KVM_GET_SUPPORTED_CPUID");
    std::vector<kvm_cpuid_entry2> entries(list.items().begin(), list.items().end());
    filter_cpuid(entries);
    return entries;
}

void set_cpuid(int vcpu_fd, const std::vector<kvm_cpuid_entry2>& entries) {
    if (entries.size() > kMaxEntries) throw Error(ErrorKind::kCorrupt, "too many CPUID leaves");
    KvmCpuidList list(entries.size());
    std::ranges::copy(entries, list.items().begin());
    kvm_call(vcpu_fd, kKvmSetCpuid2, list.head(), "KVM_SET_CPUID2");
}

}  // namespace inspect
