// SPDX-License-Identifier: LGPL-2.1-or-later
#include "vmm/boot.h"

#include <asm/bootparam.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include <inspect/error.h>

#include "base/checked.h"
#include "base/uuid.h"
#include "vmm/layout.h"

namespace inspect {

namespace {

// All of these are in the conventional memory below 640 KiB, which the kernel does not use before it has
// taken what it needs from them.
constexpr uint64_t kGdt = 0x500;
constexpr uint64_t kBootParams = 0x7000;
constexpr uint64_t kStackTop = 0x8ff0;
constexpr uint64_t kPml4 = 0x9000;
constexpr uint64_t kPdpt = 0xa000;
constexpr uint64_t kPd = 0xb000;
constexpr uint64_t kCommandLine = 0x20000;
constexpr uint64_t kSetupData = 0x30000;
constexpr uint64_t kConventionalEnd = 0x9fc00;
constexpr uint64_t kExtendedStart = 0x100000;

constexpr uint16_t kCodeSelector = 0x10;
constexpr uint16_t kDataSelector = 0x18;

constexpr uint64_t kPresentWritable = 0x3;
constexpr uint64_t kLargePage = 0x80;

template <typename T>
void must_write(const GuestMemory& memory, uint64_t address, const T& value) {
    if (!memory.write(address, value))
        throw Error(ErrorKind::kInternal, "the guest has too little memory to boot in");
}

// Documentation/x86/boot.rst, setup_data. With it the kernel's random pool is ready from the start, and need
// not gather what little it finds.
struct RandomSeed {
    static constexpr uint32_t kType = 9;  // SETUP_RNG_SEED
    uint64_t next = 0;
    uint32_t type = kType;
    uint32_t length = sizeof bytes;
    std::array<std::byte, 32> bytes{};
};

void add_random_seed(const GuestMemory& memory, boot_params& params) {
    RandomSeed seed;
    draw_random(seed.bytes);
    must_write(memory, kSetupData, seed);
    params.hdr.setup_data = kSetupData;
}

uint64_t low_memory_end(const GuestMemory& memory) {
    return std::min<uint64_t>(memory.ram().size(), kLowMemoryEnd);
}

// As high as it can be, so that it is out of the way of what the kernel allocates early.
uint64_t load_initrd(const GuestMemory& memory, const LoadedKernel& kernel, const ByteSource& initrd) {
    if (initrd.size == 0) return 0;
    const uint64_t end = low_memory_end(memory);
    if (initrd.size > end || align_down(end - initrd.size, kPageSize) < kernel.end)
        throw Error(ErrorKind::kNoSpace, "the appliance's initramfs does not fit into its memory");
    const uint64_t address = align_down(end - initrd.size, kPageSize);
    initrd.read(0, *memory.at(address, initrd.size));
    return address;
}

}  // namespace

void prepare_boot(const GuestMemory& memory, const LoadedKernel& kernel, const ByteSource& initrd,
                  const std::string& command_line) {
    if (command_line.size() > kMaxCommandLine || command_line.find('\0') != std::string::npos) {
        throw Error(ErrorKind::kUsage, "the kernel's command line has " +
                                           std::to_string(command_line.size()) + " bytes; at most " +
                                           std::to_string(kMaxCommandLine) + " are possible");
    }
    boot_params params;
    std::memset(&params, 0, sizeof params);
    params.hdr.type_of_loader = 0xff;
    params.hdr.boot_flag = 0xaa55;
    params.hdr.header = 0x53726448;  // "HdrS"
    params.hdr.version = 0x020c;
    params.hdr.loadflags = 1;  // LOADED_HIGH
    params.hdr.kernel_alignment = 0x1000000;
    params.hdr.ramdisk_image = static_cast<uint32_t>(load_initrd(memory, kernel, initrd));
    params.hdr.ramdisk_size = static_cast<uint32_t>(initrd.size);
    params.hdr.cmd_line_ptr = kCommandLine;
    params.hdr.cmdline_size = static_cast<uint32_t>(command_line.size());

    auto add_ram = [&params](uint64_t begin, uint64_t end) {
        params.e820_table[params.e820_entries++] = {begin, end - begin, 1};
    };
    add_ram(0, kConventionalEnd);
    add_ram(kExtendedStart, low_memory_end(memory));
    if (memory.ram().size() > kLowMemoryEnd)
        add_ram(kHighMemoryStart, kHighMemoryStart + memory.ram().size() - kLowMemoryEnd);
    add_random_seed(memory, params);
    must_write(memory, kBootParams, params);

    std::array<char, kMaxCommandLine + 1> line{};
    std::copy(command_line.begin(), command_line.end(), line.begin());
    must_write(memory, kCommandLine, line);

    must_write(memory, kPml4, uint64_t{kPdpt | kPresentWritable});
    must_write(memory, kPdpt, uint64_t{kPd | kPresentWritable});
    std::array<uint64_t, 512> directory;
    for (uint64_t i = 0; i < directory.size(); ++i) directory[i] = (i << 21) | kLargePage | kPresentWritable;
    must_write(memory, kPd, directory);

    const std::array<uint64_t, 4> gdt = {0, 0, 0x00af9b000000ffff, 0x00cf93000000ffff};
    must_write(memory, kGdt, gdt);
}

void set_boot_registers(const LoadedKernel& kernel, kvm_regs& regs, kvm_sregs& sregs) {
    regs = {};
    regs.rip = kernel.entry;
    regs.rsi = kBootParams;
    regs.rsp = kStackTop;
    regs.rflags = 2;

    kvm_segment code = {};
    code.limit = 0xffffffff;
    code.selector = kCodeSelector;
    code.type = 11;
    code.present = code.s = code.l = code.g = 1;
    kvm_segment data = code;
    data.selector = kDataSelector;
    data.type = 3;
    data.l = 0;
    data.db = 1;
    sregs.cs = code;
    sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = data;
    sregs.gdt.base = kGdt;
    sregs.gdt.limit = 4 * 8 - 1;
    sregs.idt.base = 0;
    sregs.idt.limit = 0;
    sregs.cr0 = 0x80050033;  // PG, AM, WP, NE, ET, MP, PE
    sregs.cr3 = kPml4;
    sregs.cr4 = 0x20;    // PAE
    sregs.efer = 0x500;  // LME, LMA
}

}  // namespace inspect
