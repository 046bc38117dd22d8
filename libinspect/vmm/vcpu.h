// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Vcpu: the one virtual CPU: KVM_RUN, what it left in the shared page, and how another thread gets it out.
#pragma once

#include <linux/kvm.h>
#include <pthread.h>

#include <cstdint>
#include <span>

#include "base/fd.h"
#include "vmm/guest_memory.h"

namespace inspect {

class Vcpu {
  public:
    // Makes vCPU 0 of the VM. Throws Error(kEngine).
    Vcpu(int kvm_fd, int vm_fd);

    int fd() const noexcept { return fd_.get(); }
    kvm_run& run_page() noexcept { return *run_; }
    // The data of a KVM_EXIT_IO; empty when the page contradicts itself.
    std::span<std::byte> io_data() noexcept;

    // Must be called by the thread that will call run(), before another calls kick(). Installs the handler of
    // the signal that kicks.
    void bind_to_this_thread();

    // KVM_RUN once. Returns true when there is an exit to handle in run_page(), false when it was interrupted
    // (by a kick, or by any signal). A kick that came before the call makes the call return false at once.
    // Throws Error(kEngine).
    bool run();

    // Makes the current run(), or else the next one, return false soon. Any thread. What the kicker wants
    // must be visible to the vCPU's thread before the kick.
    void kick() noexcept;

    kvm_regs regs() const;
    void set_regs(const kvm_regs& regs);
    bool halted() const;

  private:
    Fd fd_;
    Mapping run_mapping_;
    kvm_run* run_ = nullptr;
    pthread_t thread_{};
};

}  // namespace inspect
