// SPDX-License-Identifier: LGPL-2.1-or-later
//
// VirtioPmem: a region of guest memory as a persistent memory device (virtio 1.2, section 5.19). Here it is
// the root image, mapped privately: what the guest writes into it is gone with the guest, so there is nothing
// to flush.
#pragma once

#include "vmm/virtio_device.h"

namespace inspect {

class VirtioPmem final : public VirtioDevice {
  public:
    // The region is mapped into the guest by whoever owns its memory. `memory` must outlive this.
    VirtioPmem(const GuestMemory& memory, uint64_t address, uint64_t size);

    void notify(unsigned queue, std::unique_lock<std::mutex>& lock) override;

  private:
    DescriptorChain chain_;
};

}  // namespace inspect
