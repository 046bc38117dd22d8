// SPDX-License-Identifier: LGPL-2.1-or-later
#include "vmm/layout.h"

#include <cstdio>

namespace inspect {

std::string mmio_announcement(unsigned devices) {
    std::string text;
    for (unsigned i = 0; i < devices; ++i) {
        char one[64];
        std::snprintf(one, sizeof one, " virtio_mmio.device=4K@0x%llx:%u",
                      static_cast<unsigned long long>(kMmioBase + i * kMmioStride),
                      unsigned{interrupt_line(i)});
        text += one;
    }
    return text;
}

}  // namespace inspect
