// SPDX-License-Identifier: LGPL-2.1-or-later
//
// KvmCounter: one of the numbers that KVM keeps about a vCPU (Documentation/virt/kvm/api.rst,
// KVM_GET_STATS_FD).
#pragma once

#include <cstdint>
#include <string_view>

#include "base/fd.h"

namespace inspect {

class KvmCounter {
  public:
    KvmCounter() = default;  // reads 0
    // The counter of this name of the vCPU; one that reads 0 where KVM has no such counter or doesn't tell.
    static KvmCounter find(int vcpu_fd, std::string_view name) noexcept;

    // Since the vCPU was made. Never throws; 0 when it can't be read.
    uint64_t read() const noexcept;

  private:
    Fd fd_;
    uint64_t offset_ = 0;
};

}  // namespace inspect
