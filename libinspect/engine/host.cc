// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/host.h"

#include <cpuid.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/utsname.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <vector>

#include <inspect/error.h>

#include "base/log.h"
#include "engine/cache.h"

namespace inspect {

std::string host_identity() {
    std::string text;
    char line[96];
    for (unsigned leaf :
         {0x0u, 0x1u, 0x7u, 0x80000001u, 0x80000002u, 0x80000003u, 0x80000004u, 0x80000008u}) {
        unsigned a = 0, b = 0, c = 0, d = 0;
        __get_cpuid_count(leaf, 0, &a, &b, &c, &d);
        if (leaf == 1) {
            b &= 0x0000ffff;   // without the number of the CPU that we happen to run on
            c &= ~(1u << 27);  // OSXSAVE belongs to the host's kernel
        }
        std::snprintf(line, sizeof line, "cpu %x %x %x %x %x\n", leaf, a, b, c, d);
        text += line;
    }
    struct utsname name;
    if (::uname(&name) == 0) text += std::string("kernel ") + name.release + " " + name.version + "\n";
    return text;
}

Fd open_kvm() {
    Fd kvm(::open("/dev/kvm", O_RDWR | O_CLOEXEC));
    if (!kvm) {
        if (errno == EACCES || errno == EPERM) {
            throw Error(
                ErrorKind::kDenied,
                "/dev/kvm may not be opened by this user; add the user to its group (sudo usermod -aG kvm "
                "$USER, then log in again)");
        }
        if (errno == ENOENT || errno == ENODEV || errno == ENXIO) {
            throw Error(ErrorKind::kNotFound,
                        "this host has no KVM: /dev/kvm is missing; load the module kvm_intel or kvm_amd, or "
                        "enable virtualization in the firmware or nested virtualization in the cloud");
        }
        throw Error::from_errno(ErrorKind::kEngine, "cannot open /dev/kvm", errno);
    }
    int version = ::ioctl(kvm.get(), KVM_GET_API_VERSION, 0);
    if (version != KVM_API_VERSION)
        throw Error(ErrorKind::kEngine, "/dev/kvm speaks version " + std::to_string(version) +
                                            " of its API, not " + std::to_string(KVM_API_VERSION));
    return kvm;
}

namespace {

struct Mapping {
    void* address = MAP_FAILED;
    size_t size = 0;
    ~Mapping() {
        if (address != MAP_FAILED) ::munmap(address, size);
    }
};

[[noreturn]] void probe_failed(const char* what) {
    throw Error::from_errno(ErrorKind::kEngine, std::string("KVM probe: ") + what, errno);
}

}  // namespace

bool probe_software_kvm(int kvm_fd) {
    // 64-bit mode, FWAIT, then HLT. Hardware runs it; KVM's instruction emulator doesn't know FWAIT and ends
    // with an internal error. The memory: a page of code, then PML4, PDPT and the PD of one 2 MiB page.
    static constexpr unsigned char kCode[] = {0x9b, 0xf4};
    static constexpr size_t kPage = 4096;
    static constexpr uint64_t kCodeAddress = 0x1000, kPml4 = 0x2000, kPdpt = 0x3000, kPd = 0x4000;
    static constexpr size_t kMemorySize = 4 * kPage;
    static constexpr uint64_t kPresent = 1, kWritable = 2, kLarge = 0x80;

    Fd vm(::ioctl(kvm_fd, KVM_CREATE_VM, 0));
    if (!vm) probe_failed("KVM_CREATE_VM");
    Mapping memory{::mmap(nullptr, kMemorySize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0),
                   kMemorySize};
    if (memory.address == MAP_FAILED) probe_failed("mmap");
    auto* bytes = static_cast<unsigned char*>(memory.address);
    auto put_entry = [bytes](uint64_t table, uint64_t entry) {
        std::memcpy(bytes + (table - kCodeAddress), &entry, sizeof entry);
    };
    std::memcpy(bytes, kCode, sizeof kCode);
    put_entry(kPml4, kPdpt | kPresent | kWritable);
    put_entry(kPdpt, kPd | kPresent | kWritable);
    put_entry(kPd, 0 | kPresent | kWritable | kLarge);
    kvm_userspace_memory_region region{};
    region.guest_phys_addr = kCodeAddress;
    region.memory_size = kMemorySize;
    region.userspace_addr = reinterpret_cast<uint64_t>(memory.address);
    if (::ioctl(vm.get(), KVM_SET_USER_MEMORY_REGION, &region) < 0)
        probe_failed("KVM_SET_USER_MEMORY_REGION");

    Fd vcpu(::ioctl(vm.get(), KVM_CREATE_VCPU, 0));
    if (!vcpu) probe_failed("KVM_CREATE_VCPU");
    int run_size = ::ioctl(kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0);
    if (run_size < static_cast<int>(sizeof(kvm_run))) probe_failed("KVM_GET_VCPU_MMAP_SIZE");
    Mapping shared{
        ::mmap(nullptr, static_cast<size_t>(run_size), PROT_READ | PROT_WRITE, MAP_SHARED, vcpu.get(), 0),
        static_cast<size_t>(run_size)};
    if (shared.address == MAP_FAILED) probe_failed("mmap of the virtual CPU");

    kvm_sregs sregs;
    if (::ioctl(vcpu.get(), KVM_GET_SREGS, &sregs) < 0) probe_failed("KVM_GET_SREGS");
    sregs.cr3 = kPml4;
    sregs.cr4 = 0x20;        // PAE
    sregs.cr0 = 0x80000011;  // PG, ET, PE
    sregs.efer = 0x500;      // LMA, LME
    kvm_segment code{};
    code.limit = ~0u;
    code.selector = 0x10;
    code.type = 11;
    code.present = code.s = code.l = code.g = 1;
    sregs.cs = code;
    kvm_segment data = code;
    data.selector = 0x18;
    data.type = 3;
    data.l = 0;
    data.db = 1;
    sregs.ds = sregs.es = sregs.ss = sregs.fs = sregs.gs = data;
    if (::ioctl(vcpu.get(), KVM_SET_SREGS, &sregs) < 0) probe_failed("KVM_SET_SREGS");
    kvm_regs regs{};
    regs.rip = kCodeAddress;
    regs.rflags = 2;
    if (::ioctl(vcpu.get(), KVM_SET_REGS, &regs) < 0) probe_failed("KVM_SET_REGS");
    auto* run = static_cast<kvm_run*>(shared.address);
    int result;
    do {
        result = ::ioctl(vcpu.get(), KVM_RUN, 0);
    } while (result < 0 && errno == EINTR);
    if (result < 0) probe_failed("KVM_RUN");
    if (run->exit_reason == KVM_EXIT_HLT) return false;
    if (run->exit_reason == KVM_EXIT_INTERNAL_ERROR && run->internal.suberror == KVM_INTERNAL_ERROR_EMULATION)
        return true;
    throw Error(ErrorKind::kEngine, "KVM probe: a guest of two instructions ended with exit reason " +
                                        std::to_string(run->exit_reason) +
                                        "; this KVM cannot run the appliance");
}

bool is_software_kvm(int kvm_fd, const Cache* cache) {
    if (!cache) return probe_software_kvm(kvm_fd);
    const std::string fact = "kvm-" + key_hash(host_identity());
    if (auto known = cache->read_fact(fact); known == "software" || known == "hardware")
        return known == "software";
    const bool software = probe_software_kvm(kvm_fd);
    try {
        cache->write_fact(fact, software ? "software" : "hardware");
    } catch (const Error& error) {
        log(LogLevel::kVerbose, error.what());
    }
    return software;
}

}  // namespace inspect
