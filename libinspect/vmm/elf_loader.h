// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Loads an uncompressed 64-bit kernel (vmlinux) into guest memory. The file's every field is distrusted.
// Formats: System V ABI, "ELF-64 Object File Format" and its AMD64 supplement.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>

#include "vmm/guest_memory.h"

namespace inspect {

// Something to read from by offset. read() fills all of `out` or throws Error; it is asked for nothing that
// is beyond `size`.
struct ByteSource {
    uint64_t size;
    std::function<void(uint64_t offset, std::span<std::byte> out)> read;
};

// The regular file `fd`, which the caller keeps open. `what` names it in messages. Throws Error.
ByteSource file_source(int fd, const char* what);

struct LoadedKernel {
    uint64_t entry;  // guest-physical
    uint64_t begin;  // of the lowest segment
    uint64_t end;    // behind the highest, its .bss included
};

// Copies the PT_LOAD segments to their physical addresses. `memory` must be zero where the kernel's .bss will
// be. Segments must be at or above 1 MiB, below which prepare_boot() puts its tables. Throws Error(kCorrupt).
LoadedKernel load_elf(const ByteSource& source, const GuestMemory& memory);

}  // namespace inspect
