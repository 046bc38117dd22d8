// SPDX-License-Identifier: LGPL-2.1-or-later
//
// InterruptLines: devices share the few lines of the PC's interrupt controllers without losing interrupts.
//
// A line is up while any of its devices wants it up. The lines are level-triggered in the controllers (the
// ELCR bits that set_level_triggered() sets; Linux' i8259 driver handles all lines as levels anyway): an
// edge-triggered line would lose the interrupt of a device that raises it while another still holds it.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <mutex>

namespace inspect {

class InterruptLines {
  public:
    static constexpr unsigned kLines = 16;
    using SetLine = std::function<void(unsigned line, bool up)>;

    explicit InterruptLines(SetLine set_line) : set_line_(std::move(set_line)) {}

    // One device begins (or ends) to want its line up; calls of one device alternate. Thread-safe.
    void change(unsigned line, bool up);

  private:
    std::mutex mutex_;
    SetLine set_line_;
    std::array<unsigned, kLines> wanted_{};  // by how many devices
};

// InterruptLines that drive KVM's controllers by KVM_IRQ_LINE.
InterruptLines::SetLine kvm_interrupt_setter(int vm_fd);

// Marks layout.h's lines as level-triggered in KVM's two 8259.
void set_level_triggered(int vm_fd);

}  // namespace inspect
