// SPDX-License-Identifier: LGPL-2.1-or-later
#include "vmm/vcpu.h"

#include <signal.h>

#include <cerrno>

#include "base/checked.h"
#include "vmm/kvm_call.h"

namespace inspect {

namespace {

constexpr int kKickSignal = SIGUSR1;

extern "C" void on_kick(int) {}

}  // namespace

Vcpu::Vcpu(int kvm_fd, int vm_fd) : fd_(INSP_KVM(vm_fd, KVM_CREATE_VCPU, 0)) {
    int size = INSP_KVM(kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0);
    if (static_cast<size_t>(size) < sizeof(kvm_run))
        throw Error(ErrorKind::kEngine, "KVM's shared page is too small");
    run_mapping_ = Mapping::shared(fd_.get(), static_cast<uint64_t>(size), "KVM's shared page");
    run_ = reinterpret_cast<kvm_run*>(run_mapping_.data());
}

std::span<std::byte> Vcpu::io_data() noexcept {
    const uint64_t bytes = uint64_t{run_->io.size} * run_->io.count;
    if (!range_fits(run_->io.data_offset, bytes, run_mapping_.size())) return {};
    return {run_mapping_.data() + run_->io.data_offset, bytes};
}

void Vcpu::bind_to_this_thread() {
    thread_ = ::pthread_self();
    // Without SA_RESTART: the whole purpose is that KVM_RUN ends with EINTR.
    struct sigaction action = {};
    action.sa_handler = on_kick;
    ::sigemptyset(&action.sa_mask);
    ::sigaction(kKickSignal, &action, nullptr);
}

// Why a kick can't be lost: the kicker makes its request visible, sets immediate_exit and sends the signal,
// in this order. If KVM_RUN has begun, the signal ends it. If not, KVM sees immediate_exit when it begins.
// The flag is cleared only after run() was interrupted, and the caller looks for requests after that.
bool Vcpu::run() {
    if (::ioctl(fd_.get(), KVM_RUN, 0) == 0) return true;
    if (errno != EINTR && errno != EAGAIN)
        throw Error::from_errno(ErrorKind::kEngine, "KVM_RUN failed", errno);
    __atomic_store_n(&run_->immediate_exit, 0, __ATOMIC_SEQ_CST);
    return false;
}

void Vcpu::kick() noexcept {
    __atomic_store_n(&run_->immediate_exit, 1, __ATOMIC_SEQ_CST);
    ::pthread_kill(thread_, kKickSignal);
}

kvm_regs Vcpu::regs() const {
    kvm_regs regs;
    INSP_KVM(fd_.get(), KVM_GET_REGS, &regs);
    return regs;
}

void Vcpu::set_regs(const kvm_regs& regs) { INSP_KVM(fd_.get(), KVM_SET_REGS, &regs); }

bool Vcpu::halted() const {
    kvm_mp_state state;
    INSP_KVM(fd_.get(), KVM_GET_MP_STATE, &state);
    return state.mp_state == KVM_MP_STATE_HALTED;
}

}  // namespace inspect
