// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/kernel_command_line.h"

#include "engine/vmm_process.h"

namespace inspect {

namespace {

// CPU features (word * 32 + bit, as in the kernel's cpufeatures.h) that software KVM's emulator lacks. By
// number: the kernel cuts the list after 127 characters, and the names would be longer.
constexpr struct {
    unsigned number;
    const char* name;
} kNotEmulated[] = {
    {23, "mmx"},  // the kernel's sign that xor and raid6 can't use SSE
    {129, "pclmulqdq"}, {137, "ssse3"},      {141, "cx16"},    {145, "pcid"},   {147, "sse4_1"},
    {148, "sse4_2"},    {150, "movbe"},      {151, "popcnt"},  {153, "aes"},    {156, "avx"},
    {158, "rdrand"},    {288, "fsgsbase"},   {291, "bmi1"},    {293, "avx2"},   {295, "smep"},
    {296, "bmi2"},      {297, "erms"},       {298, "invpcid"}, {306, "rdseed"}, {307, "adx"},
    {308, "smap"},      {311, "clflushopt"}, {312, "clwb"},    {317, "sha_ni"}, {514, "umip"},
    {515, "pku"},       {580, "fsrm"},
};

std::string not_emulated() {
    std::string list;
    for (const auto& feature : kNotEmulated) {
        if (!list.empty()) list += ',';
        list += std::to_string(feature.number);
    }
    return list;
}

}  // namespace

std::string kernel_command_line(bool software_kvm) {
    // panic_print: a panic replays the log to the console, so "quiet", first of all, loses no warning.
    std::string line =
        "quiet insp_console=" + std::to_string(kConsolePort) +
        " panic=-1 panic_print=0x20 tsc=reliable no_timer_check mitigations=off rodata=off rootfstype=ramfs";
    if (software_kvm) {
        line += " insp_software_kvm noxsave clearcpuid=" + not_emulated() +
                // glibc in the appliance's programs: no instruction whose state noxsave wouldn't keep
                " GLIBC_TUNABLES=glibc.cpu.hwcaps=-AVX,-AVX2,-AVX512F,-AVX512VL,-AVX512BW,-AVX512DQ,-XSAVE,-"
                "XSAVEC,"
                "-ERMS,-FSRM";
    }
    return line;
}

std::string qemu_kernel_command_line(bool emulated) {
    // What would be measured against the timer's ticks, for a quarter of a second each: how fast the
    // processor runs a delay loop (no device here needs a delay), and the APIC's timer (the PIT is as good).
    // And each program where it was before: what is translated of it serves again.
    return kernel_command_line(false) + (emulated ? " lpj=1000000 nolapic_timer norandmaps" : "");
}

}  // namespace inspect
