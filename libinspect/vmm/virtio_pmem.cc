// SPDX-License-Identifier: LGPL-2.1-or-later
#include "vmm/virtio_pmem.h"

#include <cstring>

#include "base/endian.h"

namespace inspect {

namespace {

struct PmemConfig {
    le64 start;
    le64 size;
};

constexpr uint16_t kQueueSize = 16;

}  // namespace

VirtioPmem::VirtioPmem(const GuestMemory& memory, uint64_t address, uint64_t size)
    : VirtioDevice(kPmem, kVirtioRingIndirect | kVirtioRingEventIndex, memory, {kQueueSize}) {
    set_config(PmemConfig{address, size});
}

// A request is le32 type (0: flush); the answer le32, 0 for success.
void VirtioPmem::notify(unsigned index, std::unique_lock<std::mutex>&) {
    Virtqueue& requests = queue(index);
    Virtqueue::Round round(requests);
    do {
        while (round.pop(chain_)) {
            uint32_t written = 0;
            const le32 ok = 0;
            if (!chain_.writable.empty() && chain_.writable[0].iov_len >= sizeof ok) {
                std::memcpy(chain_.writable[0].iov_base, &ok, sizeof ok);
                written = sizeof ok;
            }
            requests.push(chain_.head, written);
        }
        requests.want_notifications(true);
    } while (requests.has_available());
    finish(requests);
}

}  // namespace inspect
