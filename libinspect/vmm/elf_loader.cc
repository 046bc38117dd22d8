// SPDX-License-Identifier: LGPL-2.1-or-later
#include "vmm/elf_loader.h"

#include <elf.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>
#include <vector>

#include <inspect/error.h>

#include "base/checked.h"
#include "base/fd.h"

namespace inspect {

namespace {

constexpr uint64_t kLowestSegment = uint64_t{1} << 20;
constexpr unsigned kMaxProgramHeaders = 64;

[[noreturn]] void reject(const char* why) {
    throw Error(ErrorKind::kCorrupt, std::string("the appliance's kernel cannot be loaded: ") + why);
}

template <typename T>
std::span<std::byte> writable_bytes_of(T& value) {
    return std::as_writable_bytes(std::span(&value, 1));
}

}  // namespace

ByteSource file_source(int fd, const char* what) {
    struct stat st;
    if (::fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))
        throw Error(ErrorKind::kEngine, std::string(what) + " is not a regular file");
    return {static_cast<uint64_t>(st.st_size), [fd, what](uint64_t offset, std::span<std::byte> out) {
                if (pread_full(fd, out, offset, what) != out.size())
                    throw Error(ErrorKind::kCorrupt, std::string(what) + " is truncated");
            }};
}

LoadedKernel load_elf(const ByteSource& source, const GuestMemory& memory) {
    Elf64_Ehdr header;
    if (source.size < sizeof header) reject("it is too short to be an ELF file");
    source.read(0, writable_bytes_of(header));
    if (std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0) reject("it is not an ELF file");
    if (header.e_ident[EI_CLASS] != ELFCLASS64 || header.e_ident[EI_DATA] != ELFDATA2LSB ||
        header.e_machine != EM_X86_64 || header.e_type != ET_EXEC)
        reject("it is not an executable for x86-64");
    if (header.e_phentsize != sizeof(Elf64_Phdr) || header.e_phnum == 0 ||
        header.e_phnum > kMaxProgramHeaders ||
        !range_fits(header.e_phoff, uint64_t{header.e_phnum} * sizeof(Elf64_Phdr), source.size))
        reject("its program headers are not within it");

    std::vector<Elf64_Phdr> segments(header.e_phnum);
    source.read(header.e_phoff, std::as_writable_bytes(std::span(segments)));
    std::erase_if(segments, [](const Elf64_Phdr& p) { return p.p_type != PT_LOAD || p.p_memsz == 0; });

    LoadedKernel kernel{header.e_entry, UINT64_MAX, 0};
    bool entry_is_inside = false;
    for (const Elf64_Phdr& segment : segments) {
        if (segment.p_filesz > segment.p_memsz) reject("a segment has more in the file than in memory");
        if (!range_fits(segment.p_offset, segment.p_filesz, source.size))
            reject("a segment is not within the file");
        if (segment.p_paddr < kLowestSegment) reject("a segment is below 1 MiB");
        auto target = memory.at(segment.p_paddr, segment.p_memsz);
        if (!target) reject("a segment is not within the guest's memory");
        source.read(segment.p_offset, target->first(segment.p_filesz));
        kernel.begin = std::min(kernel.begin, uint64_t{segment.p_paddr});
        kernel.end = std::max(kernel.end, uint64_t{segment.p_paddr + segment.p_memsz});
        if (kernel.entry >= segment.p_paddr && kernel.entry - segment.p_paddr < segment.p_filesz)
            entry_is_inside = true;
    }
    if (!entry_is_inside) reject("its entry point is in no segment");
    return kernel;
}

}  // namespace inspect
