// SPDX-License-Identifier: LGPL-2.1-or-later
//
// PortIo: the guest's I/O ports. There are two of our own (the kernel's log and its events); of a PC's
// devices there is nothing but answers that keep a kernel from waiting for them.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "engine/vmm_process.h"

namespace inspect {

class PortIo {
  public:
    // `status` must outlive this; its ring takes the kernel's log.
    explicit PortIo(VmmStatus& status) : status_(status) {}

    // An IN or INS of any width and count: fills `data`.
    void in(uint16_t port, std::span<std::byte> data) const noexcept;
    // An OUT or OUTS. Returns what the guest says happened to it, if that.
    std::optional<GuestEvent> out(uint16_t port, std::span<const std::byte> data) noexcept;

  private:
    VmmStatus& status_;
};

}  // namespace inspect
