// SPDX-License-Identifier: LGPL-2.1-or-later
#include "vmm/seccomp_filter.h"

#include <linux/audit.h>
#include <linux/fs.h>
#include <linux/kvm.h>
#include <linux/seccomp.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <span>

#include "vmm/kvm_flexible.h"

namespace inspect {

namespace {

// Without a look at their arguments.
constexpr uint32_t kAllowed[] = {
    // The guest's disks: raw files, block devices and the overlay's two files.
    SYS_pread64,
    SYS_preadv,
    SYS_pwrite64,
    SYS_pwritev,
    SYS_fdatasync,
    SYS_fsync,
    SYS_fallocate,
    SYS_lseek,
    SYS_fstat,
    SYS_ftruncate,
    // The channel, the control socket and the event descriptors.
    SYS_poll,
    SYS_recvmsg,
    SYS_sendmsg,
    SYS_recvfrom,
    SYS_sendto,
    SYS_shutdown,
    SYS_read,
    SYS_write,
    SYS_close,
    // Threads, the kick, and how a process ends.
    SYS_futex,
    SYS_tgkill,
    SYS_gettid,
    SYS_getpid,
    SYS_rt_sigreturn,
    SYS_rt_sigprocmask,
    SYS_restart_syscall,
    SYS_sched_yield,
    SYS_exit,
    SYS_exit_group,
    // Memory; mmap and mprotect are below.
    SYS_brk,
    SYS_munmap,
    SYS_mremap,
    SYS_madvise,
    // Time, for machines whose clock has no vDSO; statistics; the snapshot's id.
    SYS_clock_gettime,
    SYS_getrusage,
    SYS_getrandom,
};

// None of these makes a VM, gives it memory or runs anything but the vCPU that there is.
constexpr uint32_t kAllowedIoctls[] = {
    static_cast<uint32_t>(KVM_RUN),
    static_cast<uint32_t>(KVM_IRQ_LINE),
    // software_kvm
    static_cast<uint32_t>(KVM_GET_REGS),
    static_cast<uint32_t>(KVM_SET_REGS),
    static_cast<uint32_t>(KVM_GET_VCPU_EVENTS),
    static_cast<uint32_t>(KVM_SET_VCPU_EVENTS),
    static_cast<uint32_t>(KVM_TRANSLATE),
    // taking a snapshot
    static_cast<uint32_t>(KVM_GET_MP_STATE),
    static_cast<uint32_t>(KVM_GET_SREGS),
    static_cast<uint32_t>(kKvmGetXsave),
    static_cast<uint32_t>(KVM_GET_XCRS),
    static_cast<uint32_t>(KVM_GET_DEBUGREGS),
    static_cast<uint32_t>(KVM_GET_LAPIC),
    static_cast<uint32_t>(KVM_GET_TSC_KHZ),
    static_cast<uint32_t>(kKvmGetCpuid2),
    static_cast<uint32_t>(kKvmGetMsrIndexList),
    static_cast<uint32_t>(kKvmGetMsrs),
    static_cast<uint32_t>(kKvmSetMsrs),
    static_cast<uint32_t>(KVM_GET_CLOCK),
    static_cast<uint32_t>(KVM_GET_IRQCHIP),
    // discards on a block device
    static_cast<uint32_t>(BLKDISCARD),
};

constexpr uint32_t kX32Bit = 0x40000000;

constexpr uint32_t argument_offset(unsigned index) {  // of the low half
    return static_cast<uint32_t>(offsetof(seccomp_data, args) + index * sizeof(uint64_t));
}

class Program {
  public:
    void load(uint32_t offset) { add({BPF_LD | BPF_W | BPF_ABS, 0, 0, offset}); }
    void allow() { add({BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW}); }
    void kill() { add({BPF_RET | BPF_K, 0, 0, SECCOMP_RET_KILL_PROCESS}); }
    void allow_if_equal(uint32_t value) {
        add({BPF_JMP | BPF_JEQ | BPF_K, 0, 1, value});
        allow();
    }
    void kill_unless_equal(uint32_t value) {
        add({BPF_JMP | BPF_JEQ | BPF_K, 1, 0, value});
        kill();
    }
    void kill_if_any_bit(uint32_t bits) {
        add({BPF_JMP | BPF_JSET | BPF_K, 0, 1, bits});
        kill();
    }
    void kill_if_at_least(uint32_t value) {
        add({BPF_JMP | BPF_JGE | BPF_K, 0, 1, value});
        kill();
    }
    // What `body` adds runs for this system call alone, and must end in allow() or kill().
    template <typename Body>
    void for_call(uint32_t number, Body body) {
        Program inner;
        body(inner);
        add({BPF_JMP | BPF_JEQ | BPF_K, 0, static_cast<uint8_t>(inner.code.size()), number});
        code.insert(code.end(), inner.code.begin(), inner.code.end());
    }
    std::vector<sock_filter> code;

  private:
    void add(sock_filter instruction) { code.push_back(instruction); }
};

static_assert(std::size(kAllowedIoctls) * 2 + 2 < 256, "jumps within the ioctl part have 8 bits");

}  // namespace

std::vector<sock_filter> vmm_seccomp_filter() {
    Program program;
    program.code.reserve(192);
    program.load(offsetof(seccomp_data, arch));
    program.kill_unless_equal(AUDIT_ARCH_X86_64);
    program.load(offsetof(seccomp_data, nr));
    // First, because it is the one that is called for every exit.
    program.for_call(SYS_ioctl, [](Program& part) {
        part.load(argument_offset(1));
        for (uint32_t request : kAllowedIoctls) part.allow_if_equal(request);
        part.kill();
    });
    program.kill_if_at_least(kX32Bit);
    for (uint32_t number : kAllowed) program.allow_if_equal(number);
    for (uint32_t number : {uint32_t{SYS_mmap}, uint32_t{SYS_mprotect}}) {
        program.for_call(number, [](Program& part) {
            part.load(argument_offset(2));
            part.kill_if_any_bit(PROT_EXEC);
            part.allow();
        });
    }
    // A disk server's patience with its client.
    program.for_call(SYS_setsockopt, [](Program& part) {
        part.load(argument_offset(1));
        part.kill_unless_equal(SOL_SOCKET);
        part.load(argument_offset(2));
        for (uint32_t option : {uint32_t{SO_RCVTIMEO}, uint32_t{SO_SNDTIMEO}}) part.allow_if_equal(option);
        part.kill();
    });
    program.kill();
    return program.code;
}

}  // namespace inspect
