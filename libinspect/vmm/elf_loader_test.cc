// SPDX-License-Identifier: LGPL-2.1-or-later
#include "vmm/elf_loader.h"

#include <elf.h>
#include <gtest/gtest.h>

#include <cstring>
#include <functional>

#include <inspect/error.h>

#include "vmm/boot.h"
#include "vmm/layout.h"

namespace inspect {
namespace {

// A kernel of one segment with eight bytes in the file and 16 in memory.
struct TinyKernel {
    Elf64_Ehdr header{};
    Elf64_Phdr segment{};
    char code[8] = {'k', 'e', 'r', 'n', 'e', 'l', '!', '!'};

    TinyKernel() {
        std::memcpy(header.e_ident, ELFMAG, SELFMAG);
        header.e_ident[EI_CLASS] = ELFCLASS64;
        header.e_ident[EI_DATA] = ELFDATA2LSB;
        header.e_type = ET_EXEC;
        header.e_machine = EM_X86_64;
        header.e_entry = 0x100004;
        header.e_phoff = sizeof header;
        header.e_phentsize = sizeof segment;
        header.e_phnum = 1;
        segment.p_type = PT_LOAD;
        segment.p_offset = sizeof header + sizeof segment;
        segment.p_paddr = 0x100000;
        segment.p_filesz = sizeof code;
        segment.p_memsz = 16;
    }
};

ByteSource source_of(const void* data, uint64_t size) {
    const auto* bytes = static_cast<const std::byte*>(data);
    return {size, [bytes, size](uint64_t offset, std::span<std::byte> out) {
                ASSERT_LE(offset, size);
                ASSERT_LE(out.size(), size - offset) << "the loader reads behind the end";
                if (!out.empty()) std::memcpy(out.data(), bytes + offset, out.size());
            }};
}

GuestMemory memory_of(uint64_t bytes) { return GuestMemory(Mapping::anonymous(bytes, "test")); }

TEST(ElfLoader, LoadsSegmentsToTheirPhysicalAddresses) {
    TinyKernel kernel;
    GuestMemory memory = memory_of(2u << 20);
    LoadedKernel loaded = load_elf(source_of(&kernel, sizeof kernel), memory);
    EXPECT_EQ(loaded.entry, 0x100004u);
    EXPECT_EQ(loaded.begin, 0x100000u);
    EXPECT_EQ(loaded.end, 0x100010u);
    EXPECT_EQ(std::memcmp(memory.at(0x100000, 8)->data(), "kernel!!", 8), 0);
}

struct Malformation {
    const char* name;
    std::function<void(TinyKernel&)> apply;
};

class MalformedElf : public testing::TestWithParam<Malformation> {};

TEST_P(MalformedElf, IsRefused) {
    TinyKernel kernel;
    GetParam().apply(kernel);
    GuestMemory memory = memory_of(2u << 20);
    try {
        load_elf(source_of(&kernel, sizeof kernel), memory);
        FAIL() << "loaded";
    } catch (const Error& error) {
        EXPECT_EQ(error.kind(), ErrorKind::kCorrupt);
    }
}

INSTANTIATE_TEST_SUITE_P(
    All, MalformedElf,
    testing::Values(
        Malformation{"Magic", [](TinyKernel& k) { k.header.e_ident[0] = 0; }},
        Malformation{"Class32", [](TinyKernel& k) { k.header.e_ident[EI_CLASS] = ELFCLASS32; }},
        Malformation{"BigEndian", [](TinyKernel& k) { k.header.e_ident[EI_DATA] = ELFDATA2MSB; }},
        Malformation{"Arm", [](TinyKernel& k) { k.header.e_machine = EM_AARCH64; }},
        Malformation{"SharedObject", [](TinyKernel& k) { k.header.e_type = ET_DYN; }},
        Malformation{"NoHeaders", [](TinyKernel& k) { k.header.e_phnum = 0; }},
        Malformation{"ManyHeaders", [](TinyKernel& k) { k.header.e_phnum = 65535; }},
        Malformation{"HeaderSize", [](TinyKernel& k) { k.header.e_phentsize = 1; }},
        Malformation{"HeadersBehindEnd", [](TinyKernel& k) { k.header.e_phoff = sizeof(TinyKernel) - 8; }},
        Malformation{"HeadersOverflow", [](TinyKernel& k) { k.header.e_phoff = UINT64_MAX - 8; }},
        Malformation{"NoLoad", [](TinyKernel& k) { k.segment.p_type = PT_NOTE; }},
        Malformation{"MoreInFile", [](TinyKernel& k) { k.segment.p_memsz = 4; }},
        Malformation{"FileSize", [](TinyKernel& k) { k.segment.p_filesz = k.segment.p_memsz = 4096; }},
        Malformation{"FileSizeOverflow",
                     [](TinyKernel& k) { k.segment.p_filesz = k.segment.p_memsz = UINT64_MAX; }},
        Malformation{"OffsetOverflow", [](TinyKernel& k) { k.segment.p_offset = UINT64_MAX - 2; }},
        Malformation{"BehindMemory", [](TinyKernel& k) { k.segment.p_paddr = (2u << 20) - 8; }},
        Malformation{"AddressOverflow", [](TinyKernel& k) { k.segment.p_paddr = UINT64_MAX - 8; }},
        Malformation{"MemorySize", [](TinyKernel& k) { k.segment.p_memsz = 1u << 20 | 1; }},
        Malformation{"OverBootTables", [](TinyKernel& k) { k.segment.p_paddr = 0x9000; }},
        Malformation{"EntryOutside", [](TinyKernel& k) { k.header.e_entry = 0x100008; }},
        Malformation{"EntryVirtual", [](TinyKernel& k) { k.header.e_entry = 0xffffffff81000000; }}),
    [](const auto& each) { return each.param.name; });

TEST(ElfLoader, RefusesEveryTruncation) {
    TinyKernel kernel;
    GuestMemory memory = memory_of(2u << 20);
    for (size_t size = 0; size < sizeof kernel; ++size)
        EXPECT_THROW(load_elf(source_of(&kernel, size), memory), Error) << size;
}

constexpr LoadedKernel kKernel{0x100000, 0x100000, 0x180000};

TEST(Boot, RefusesALongCommandLine) {
    GuestMemory memory = memory_of(4u << 20);
    prepare_boot(memory, kKernel, {0, {}}, std::string(kMaxCommandLine, 'x'));
    EXPECT_EQ(memory.read<char>(0x20000 + kMaxCommandLine - 1), 'x');
    EXPECT_EQ(memory.read<char>(0x20000 + kMaxCommandLine), '\0');
    EXPECT_THROW(prepare_boot(memory, kKernel, {0, {}}, std::string(kMaxCommandLine + 1, 'x')), Error);
    EXPECT_THROW(prepare_boot(memory, kKernel, {0, {}}, std::string("a\0b", 3)), Error);
}

TEST(Boot, PutsTheInitrdAtTheEndOfMemory) {
    GuestMemory memory = memory_of(4u << 20);
    const std::string initrd(5000, 'i');
    prepare_boot(memory, kKernel, source_of(initrd.data(), initrd.size()), "");
    EXPECT_EQ(memory.read<uint32_t>(0x7000 + 0x218), (4u << 20) - 8192);  // ramdisk_image, page-aligned
    EXPECT_EQ(memory.read<uint32_t>(0x7000 + 0x21c), 5000u);              // ramdisk_size
    EXPECT_EQ(memory.read<char>((4u << 20) - 8192 + 4999), 'i');
}

TEST(Boot, RefusesAnInitrdThatMeetsTheKernel) {
    GuestMemory memory = memory_of(4u << 20);
    auto never = [](uint64_t, std::span<std::byte>) { FAIL() << "must not be read"; };
    EXPECT_THROW(prepare_boot(memory, kKernel, {(4u << 20) - 0x180000 + 1, never}, ""), Error);
    EXPECT_THROW(prepare_boot(memory, kKernel, {UINT64_MAX, never}, ""), Error);
}

}  // namespace
}  // namespace inspect
