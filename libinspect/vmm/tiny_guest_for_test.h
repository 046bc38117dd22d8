// SPDX-License-Identifier: LGPL-2.1-or-later
//
// For tests: guests of a few instructions of 64-bit machine code, in an ELF file that the VMM boots.
#pragma once

#include <elf.h>
#include <sys/mman.h>

#include <cstdint>
#include <cstring>
#include <vector>

#include "base/fd.h"
#include "engine/vmm_process.h"

namespace inspect::tiny_guest {

using Code = std::vector<unsigned char>;

inline Code operator+(Code a, const Code& b) {
    a.insert(a.end(), b.begin(), b.end());
    return a;
}

// Machine code, 64-bit mode.
inline Code out(uint16_t port, uint8_t value) {  // mov port,%dx; mov value,%al; out
    return {0x66,  0xba, static_cast<unsigned char>(port), static_cast<unsigned char>(port >> 8), 0xb0,
            value, 0xee};
}
inline Code say(const char* text) {
    Code code;
    for (; *text; ++text) code = code + out(kConsolePort, static_cast<uint8_t>(*text));
    return code;
}
inline Code out_al(uint16_t port) {
    return {0x66, 0xba, static_cast<unsigned char>(port), static_cast<unsigned char>(port >> 8), 0xee};
}
inline const Code kEnd = out(kEventPort, 3);  // "the guest halted"
inline const Code kForever = {0xeb, 0xfe};
inline const Code kHalt = {0xf4, 0xeb, 0xfd};  // with interrupts off: for ever

inline constexpr uint64_t kCode = 0x100000;

// An ELF file of one segment with this code at kCode.
inline Fd kernel_of(const Code& code) {
    struct {
        Elf64_Ehdr header{};
        Elf64_Phdr segment{};
    } elf;
    std::memcpy(elf.header.e_ident, ELFMAG, SELFMAG);
    elf.header.e_ident[EI_CLASS] = ELFCLASS64;
    elf.header.e_ident[EI_DATA] = ELFDATA2LSB;
    elf.header.e_type = ET_EXEC;
    elf.header.e_machine = EM_X86_64;
    elf.header.e_entry = kCode;
    elf.header.e_phoff = sizeof elf.header;
    elf.header.e_phentsize = sizeof elf.segment;
    elf.header.e_phnum = 1;
    elf.segment.p_type = PT_LOAD;
    elf.segment.p_offset = sizeof elf;
    elf.segment.p_paddr = kCode;
    elf.segment.p_filesz = elf.segment.p_memsz = code.size();
    Fd fd(::memfd_create("kernel", MFD_CLOEXEC));
    write_full(fd.get(), std::as_bytes(std::span(&elf, 1)), "write the kernel");
    write_full(fd.get(), std::as_bytes(std::span(code)), "write the kernel");
    return fd;
}

}  // namespace inspect::tiny_guest
