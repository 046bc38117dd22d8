// SPDX-License-Identifier: LGPL-2.1-or-later
#include "vmm/kvm_state.h"

#include <algorithm>
#include <cstdlib>

#include "vmm/cpuid.h"
#include "vmm/kvm_call.h"
#include "vmm/kvm_flexible.h"

namespace inspect {

namespace {

constexpr uint32_t kMsrTsc = 0x10, kMsrTscDeadline = 0x6e0;

// MSRs that KVM has but does not list: memory types and TSC_AUX.
constexpr uint32_t kUnlistedMsrs[] = {0x2ff, 0xc0000103};

std::vector<uint32_t> msr_indices(int kvm_fd, uint32_t max) {
    KvmMsrIndices list(max);
    kvm_call(kvm_fd, kKvmGetMsrIndexList, list.head(), "KVM_GET_MSR_INDEX_LIST");
    std::vector<uint32_t> indices(list.items().begin(), list.items().end());
    indices.insert(indices.end(), std::begin(kUnlistedMsrs), std::end(kUnlistedMsrs));
    // The deadline is a time of the TSC, so the TSC comes first and it last.
    std::ranges::sort(indices, {}, [](uint32_t index) {
        const unsigned rank = index == kMsrTsc ? 0 : index == kMsrTscDeadline ? 2 : 1;
        return std::pair(rank, index);
    });
    indices.erase(std::unique(indices.begin(), indices.end()), indices.end());
    return indices;
}

// KVM_GET_MSRS or KVM_SET_MSRS of a list; returns the ones that KVM took. (It stops at the first that it
// does not.)
std::vector<kvm_msr_entry> accepted_msrs(int vcpu_fd, unsigned long request, const char* name,
                                         std::vector<kvm_msr_entry> rest) {
    std::vector<kvm_msr_entry> accepted;
    while (!rest.empty()) {
        KvmMsrEntries list(rest.size());
        std::ranges::copy(rest, list.items().begin());
        const int done =
            std::min(kvm_call(vcpu_fd, request, list.head(), name), static_cast<int>(rest.size()));
        accepted.insert(accepted.end(), list.items().begin(), list.items().begin() + done);
        rest.erase(rest.begin(), rest.begin() + std::min<std::ptrdiff_t>(done + 1, std::ssize(rest)));
    }
    return accepted;
}

std::vector<kvm_msr_entry> capture_msrs(int kvm_fd, int vcpu_fd, uint32_t max) {
    std::vector<kvm_msr_entry> wanted;
    for (uint32_t index : msr_indices(kvm_fd, max)) {
        kvm_msr_entry entry = {};
        entry.index = index;
        wanted.push_back(entry);
    }
    auto readable = accepted_msrs(vcpu_fd, kKvmGetMsrs, "KVM_GET_MSRS", std::move(wanted));
    return accepted_msrs(vcpu_fd, kKvmSetMsrs, "KVM_SET_MSRS", std::move(readable));
}

std::vector<kvm_cpuid_entry2> capture_cpuid(int vcpu_fd, uint32_t max) {
    KvmCpuidList list(max);
    kvm_call(vcpu_fd, kKvmGetCpuid2, list.head(), "KVM_GET_CPUID2");
    return {list.items().begin(), list.items().end()};
}

// The host calibrates its TSC anew at each boot; this much difference no clock in the guest minds.
void set_tsc_khz(int vcpu_fd, uint32_t wanted) {
    const int now = ::ioctl(vcpu_fd, KVM_GET_TSC_KHZ, 0);
    if (now > 0 && std::abs(now - static_cast<int64_t>(wanted)) <= wanted / 4000) return;
    INSP_KVM(vcpu_fd, KVM_SET_TSC_KHZ, static_cast<unsigned long>(wanted));
}

// See restored_deadline().
void mend_deadline(int vcpu_fd, const std::vector<kvm_msr_entry>& saved) {
    const auto value = [&](uint32_t index) -> uint64_t {
        const auto found = std::ranges::find(saved, index, &kvm_msr_entry::index);
        return found == saved.end() ? 0 : found->data;
    };
    KvmMsrEntries tsc(1);
    tsc.items()[0].index = kMsrTsc;
    kvm_call(vcpu_fd, kKvmGetMsrs, tsc.head(), "KVM_GET_MSRS");
    const uint64_t deadline = value(kMsrTscDeadline);
    const uint64_t restored = restored_deadline(deadline, value(kMsrTsc), tsc.items()[0].data);
    if (restored == deadline) return;
    KvmMsrEntries due(1);
    due.items()[0] = {kMsrTscDeadline, 0, restored};
    kvm_call(vcpu_fd, kKvmSetMsrs, due.head(), "KVM_SET_MSRS");
}

}  // namespace

uint64_t restored_deadline(uint64_t deadline, uint64_t saved_tsc, uint64_t tsc) {
    constexpr uint64_t kSomeSeconds = uint64_t{1} << 34;  // of any clock, and more than a restore takes
    const uint64_t elapsed = tsc - saved_tsc;             // wraps, to more, where the TSC went back
    return deadline == 0 || elapsed < kSomeSeconds ? deadline : std::min(deadline, tsc);
}

KvmState KvmState::capture(int kvm_fd, int vm_fd, int vcpu_fd) {
    KvmState s;
    INSP_KVM(vcpu_fd, KVM_GET_MP_STATE, &s.mp_state_);
    INSP_KVM(vcpu_fd, KVM_GET_REGS, &s.regs_);
    INSP_KVM(vcpu_fd, KVM_GET_SREGS, &s.sregs_);
    kvm_call(vcpu_fd, kKvmGetXsave, s.xsave_.data(), "KVM_GET_XSAVE");
    INSP_KVM(vcpu_fd, KVM_GET_XCRS, &s.xcrs_);
    INSP_KVM(vcpu_fd, KVM_GET_DEBUGREGS, &s.debugregs_);
    INSP_KVM(vcpu_fd, KVM_GET_LAPIC, &s.lapic_);
    s.tsc_khz_ = static_cast<uint32_t>(INSP_KVM(vcpu_fd, KVM_GET_TSC_KHZ, 0));
    s.cpuid_ = capture_cpuid(vcpu_fd, kMaxCpuid);
    s.msrs_ = capture_msrs(kvm_fd, vcpu_fd, kMaxMsrs);
    INSP_KVM(vcpu_fd, KVM_GET_VCPU_EVENTS, &s.events_);
    INSP_KVM(vm_fd, KVM_GET_CLOCK, &s.clock_);
    for (uint32_t i = 0; i < s.irqchips_.size(); ++i) {
        s.irqchips_[i].chip_id = i;
        INSP_KVM(vm_fd, KVM_GET_IRQCHIP, &s.irqchips_[i]);
    }
    return s;
}

void KvmState::restore(int vm_fd, int vcpu_fd) const {
    try {
        set_cpuid(vcpu_fd, cpuid_);
        set_tsc_khz(vcpu_fd, tsc_khz_);
        INSP_KVM(vcpu_fd, KVM_SET_MP_STATE, &mp_state_);
        INSP_KVM(vcpu_fd, KVM_SET_REGS, &regs_);
        INSP_KVM(vcpu_fd, KVM_SET_SREGS, &sregs_);
        kvm_call(vcpu_fd, kKvmSetXsave, xsave_.data(), "KVM_SET_XSAVE");
        INSP_KVM(vcpu_fd, KVM_SET_XCRS, &xcrs_);
        INSP_KVM(vcpu_fd, KVM_SET_DEBUGREGS, &debugregs_);
        INSP_KVM(vcpu_fd, KVM_SET_LAPIC, &lapic_);
        if (accepted_msrs(vcpu_fd, kKvmSetMsrs, "KVM_SET_MSRS", msrs_).size() != msrs_.size())
            throw Error(ErrorKind::kCorrupt, "this host's KVM does not know all of the snapshot's MSRs");
        mend_deadline(vcpu_fd, msrs_);
        INSP_KVM(vcpu_fd, KVM_SET_VCPU_EVENTS, &events_);
        for (const kvm_irqchip& chip : irqchips_) INSP_KVM(vm_fd, KVM_SET_IRQCHIP, &chip);
        kvm_clock_data clock = clock_;
        clock.flags = 0;  // the guest's clock goes on from where it was, not from the host's
        INSP_KVM(vm_fd, KVM_SET_CLOCK, &clock);
    } catch (const Error& error) {
        throw Error(ErrorKind::kCorrupt, error.message());
    }
}

void KvmState::save(StateWriter& out) const {
    out.put_list(std::span(cpuid_));
    out.put(tsc_khz_);
    out.put(mp_state_);
    out.put(regs_);
    out.put(sregs_);
    out.put(xsave_);
    out.put(xcrs_);
    out.put(debugregs_);
    out.put(lapic_);
    out.put_list(std::span(msrs_));
    out.put(events_);
    out.put(clock_);
    out.put(irqchips_);
}

KvmState KvmState::load(StateReader& in) {
    KvmState s;
    s.cpuid_ = in.get_list<kvm_cpuid_entry2>(kMaxCpuid);
    s.tsc_khz_ = in.get<uint32_t>();
    s.mp_state_ = in.get<kvm_mp_state>();
    s.regs_ = in.get<kvm_regs>();
    s.sregs_ = in.get<kvm_sregs>();
    s.xsave_ = in.get<std::array<std::byte, kKvmXsaveBytes>>();
    s.xcrs_ = in.get<kvm_xcrs>();
    s.debugregs_ = in.get<kvm_debugregs>();
    s.lapic_ = in.get<kvm_lapic_state>();
    s.msrs_ = in.get_list<kvm_msr_entry>(kMaxMsrs);
    s.events_ = in.get<kvm_vcpu_events>();
    s.clock_ = in.get<kvm_clock_data>();
    s.irqchips_ = in.get<std::array<kvm_irqchip, 3>>();
    return s;
}

}  // namespace inspect
