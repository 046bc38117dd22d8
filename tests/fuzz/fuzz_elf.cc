// SPDX-License-Identifier: GPL-2.0-or-later
//
// A kernel file that is anything.
#include <cstdlib>
#include <cstring>

#include <inspect/error.h>

#include "vmm/boot.h"
#include "vmm/elf_loader.h"

using namespace inspect;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    static const GuestMemory memory(Mapping::anonymous(4u << 20, "guest memory"));
    const ByteSource source{size, [data, size](uint64_t offset, std::span<std::byte> out) {
                                if (offset > size || out.size() > size - offset) std::abort();
                                if (!out.empty()) std::memcpy(out.data(), data + offset, out.size());
                            }};
    try {
        const LoadedKernel kernel = load_elf(source, memory);
        if (kernel.entry < kernel.begin || kernel.entry >= kernel.end) std::abort();
        prepare_boot(memory, kernel, source, "fuzz");
    } catch (const Error&) {
    }
    return 0;
}
