// SPDX-License-Identifier: GPL-2.0-or-later
//
// The state of a snapshot, as a file and, behind its checksums, as devices and registers.
#include <sys/eventfd.h>

#include <cstring>
#include <memory>

#include <inspect/error.h>

#include "block/memory_device.h"
#include "vmm/driver_for_test.h"
#include "vmm/kvm_state.h"
#include "vmm/snapshot_files.h"
#include "vmm/virtio_blk.h"
#include "vmm/virtio_console.h"

using namespace inspect;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    if (size == 0) return 0;
    static const auto status = std::make_unique<VmmStatus>();
    static const std::atomic<bool> stopping{false};
    const auto bytes = std::as_bytes(std::span(data + 1, size - 1));
    DriverHarness h;
    try {
        switch (data[0] % 4) {
            case 0:
                decode_state_file(bytes, {64u << 20, 0, 4});
                break;
            case 1: {
                StateReader in(bytes);
                KvmState::load(in);
                break;
            }
            case 2: {
                h.transport.attach(std::make_unique<VirtioBlk>(h.memory, std::make_unique<MemoryDevice>(4096),
                                                               VirtioBlk::Options{}, *status, stopping));
                StateReader in(bytes);
                h.transport.load(in);
                break;
            }
            default: {
                auto console = std::make_unique<VirtioConsole>(h.memory, VirtioConsole::Outside{-1, -1, -1});
                h.transport.attach(std::move(console));
                StateReader in(bytes);
                h.transport.load(in);
                break;
            }
        }
    } catch (const Error&) {
    }
    // Whatever was loaded, the guest goes on with it.
    if (data[0] % 4 >= 2) {
        for (uint32_t i = 0; i < 6; ++i) h.notify(i);
    }
    return 0;
}
