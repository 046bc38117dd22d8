// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/kernel_command_line.h"

#include "engine/vmm_process.h"

namespace inspect {

std::string kernel_command_line(bool software_kvm) {
    std::string line = "insp_console=" + std::to_string(kConsolePort) +
                       " quiet panic=-1 reboot=t tsc=reliable no_timer_check mitigations=off nokaslr nopti "
                       "random.trust_cpu=on page_alloc.shuffle=0";
    if (software_kvm) {
        // The instructions that the emulator lacks, and what comes with them; then glibc's share of it.
        line +=
            " insp_software_kvm noxsave "
            "clearcpuid=smap,smep,umip,cx16,pku,fsgsbase,erms,fsrm,popcnt,avx,avx2,xmm4_1,xmm4_2,movbe,aes,"
            "pclmulqdq,bmi1,bmi2,adx,rdrand,rdseed,clflushopt,clwb,invpcid,pcid "
            "GLIBC_TUNABLES=glibc.cpu.hwcaps=-AVX,-AVX2,-AVX512F,-AVX512VL,-AVX512BW,-AVX512DQ,-XSAVE,-"
            "XSAVEC,-ERMS,"
            "-FSRM";
    }
    return line;
}

}  // namespace inspect
