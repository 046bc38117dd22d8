// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Where things are in the guest's physical address space, and which interrupt line is whose.
//
//   0           RAM, up to 3 GiB
//   0xd0000000  one page of registers for each virtio-mmio device: 0 the console, 1 the pmem, then the disks
//   4 GiB       the rest of the RAM
//   above it    the root image (virtio-pmem), at a multiple of 1 GiB
//
// There is no ACPI, no MP table and no device tree: the kernel learns of the devices from its command line.
#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "base/checked.h"
#include "base/units.h"

namespace inspect {

inline constexpr uint64_t kPageSize = 4096;

inline constexpr uint64_t kMinMemoryBytes = uint64_t{16} << 20;
inline constexpr uint64_t kMaxMemoryBytes = 64 * kGiB;
inline constexpr uint64_t kLowMemoryEnd = 3 * kGiB;
inline constexpr uint64_t kHighMemoryStart = 4 * kGiB;

inline constexpr uint64_t kMmioBase = 0xd0000000;
inline constexpr uint64_t kMmioStride = kPageSize;
inline constexpr unsigned kConsoleIndex = 0;
inline constexpr unsigned kPmemIndex = 1;
inline constexpr unsigned kFirstDiskIndex = 2;

// libnvdimm wants memory sections' subdivisions: 2 MiB, in place and size.
inline constexpr uint64_t kPmemAlignment = uint64_t{2} << 20;

// Where the root image is in a guest with this much RAM.
constexpr uint64_t pmem_address(uint64_t memory_bytes) {
    uint64_t high = memory_bytes > kLowMemoryEnd ? memory_bytes - kLowMemoryEnd : 0;
    return kHighMemoryStart + align_up(high, kGiB);
}

// The lines of the two 8259 that no PC device claims and that may be level-triggered (of these, not 7 and 15,
// where spurious interrupts arrive). Devices share them; see InterruptLines.
inline constexpr std::array<uint8_t, 9> kInterruptLines = {5, 10, 11, 9, 12, 14, 3, 4, 6};

constexpr uint8_t interrupt_line(unsigned device_index) {
    return kInterruptLines[device_index % kInterruptLines.size()];
}

// What announces that many devices to Linux: " virtio_mmio.device=4K@0xd0000000:5 ...".
std::string mmio_announcement(unsigned devices);

}  // namespace inspect
