// SPDX-License-Identifier: LGPL-2.1-or-later
#include "vmm/interrupt_lines.h"

#include <linux/kvm.h>

#include "vmm/kvm_call.h"
#include "vmm/layout.h"

namespace inspect {

void InterruptLines::change(unsigned line, bool up) {
    std::lock_guard lock(mutex_);
    unsigned& wanted = wanted_.at(line);
    if (up && wanted++ == 0) set_line_(line, true);
    if (!up && --wanted == 0) set_line_(line, false);
}

InterruptLines::SetLine kvm_interrupt_setter(int vm_fd) {
    return [vm_fd](unsigned line, bool up) {
        kvm_irq_level level = {};
        level.irq = line;
        level.level = up;
        INSP_KVM(vm_fd, KVM_IRQ_LINE, &level);
    };
}

void set_level_triggered(int vm_fd) {
    uint16_t lines = 0;
    for (uint8_t line : kInterruptLines) lines = static_cast<uint16_t>(lines | 1u << line);
    for (uint32_t chip_id : {uint32_t{KVM_IRQCHIP_PIC_MASTER}, uint32_t{KVM_IRQCHIP_PIC_SLAVE}}) {
        kvm_irqchip chip = {};
        chip.chip_id = chip_id;
        INSP_KVM(vm_fd, KVM_GET_IRQCHIP, &chip);
        chip.chip.pic.elcr = static_cast<uint8_t>(chip_id == KVM_IRQCHIP_PIC_MASTER ? lines : lines >> 8);
        INSP_KVM(vm_fd, KVM_SET_IRQCHIP, &chip);
    }
}

}  // namespace inspect
