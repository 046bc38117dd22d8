// SPDX-License-Identifier: LGPL-2.1-or-later
//
// The contract between an engine and `insp-vmm`, the child process that holds the virtual machine.
//
// The engine opens everything and starts `insp-vmm` with the descriptors inherited, named by number in its
// arguments; the child opens nothing by path, so that it can give up every other right before the guest runs.
// The engine distrusts the child as the child distrusts the guest: what comes back is bounded and checked.
//
//   insp-vmm --kvm=FD --channel=FD --control=FD --status=FD --memory=BYTES --slots=N --root=FD
//            ( --kernel=FD --initrd=FD --cmdline=TEXT  |  --restore-state=FD --restore-memory=FD )
//            [ --disk=block-size=512|4096,serial=TEXT[,overlay=FD:FD[,size=BYTES]][,read-only],node=NODE ]...
//            [ --software-kvm ] [ --no-sandbox ]
//   insp-vmm --control=FD --status=FD --disk=nbd=FD,... [ --disk=nbd=FD,... ]... [ --no-sandbox ]
//
// The second form has no virtual machine: it serves the disks, each by NBD on a connected socket, to another
// VMM (docs/qemu.md). Its only request is "stop".
//
//   --kvm        an open /dev/kvm
//   --channel    stream socket: the bytes of the agent's virtio-console port, both ways. When the guest
//                writes faster than the engine reads, the virtual CPU waits. EOF ends the process.
//   --control    SOCK_SEQPACKET socket: requests from the engine and their answers (below). EOF ends the
//                process.
//   --status     a memfd of sizeof(VmmStatus), mapped by both: counters, how it ended, the console's tail
//   --slots      how many virtio-mmio disk slots the guest has (1 to kMaxDiskSlots); equal in a snapshot and
//                its restore
//   --root       the appliance's root image; mapped MAP_PRIVATE and offered as virtio-pmem
//   --disk       the disks, in the order of the slots. Until they are attached, a slot answers DeviceID 0.
//                After a restore they are attached from the start; after a boot, by the request "attach".
//                NODE is a DiskNode's text (block/disk_node.h). overlay=MEM:SPILL are the descriptors of an
//                OverlayStore (block/overlay.h); where it is given, the node is only read. Without it,
//                writes go straight to the node. size=: the disk is larger than the node; what is beyond it
//                reads as zeros.
//   --software-kvm  the host's KVM emulates kernel mode: complete what its emulator lacks
//   --no-sandbox    for debugging and sanitizers only
//
// When all is set up, right before the first KVM_RUN, the child sends the packet "ready". A failure before
// that is one packet "error TEXT" ("error snapshot: TEXT" when it is the snapshot that is torn or doesn't
// fit) and the end of the process.
//
// Requests are one packet of ASCII; each is answered by one packet "ok" or "error TEXT":
//   attach     the disks appear in their slots
//   snapshot   with two descriptors (SCM_RIGHTS: state, memory; both empty regular files): waits until the
//              virtual CPU is halted, at most some seconds, saves, and goes on running
//   stop       stops the virtual CPU for good, flushes and closes the disks, answers, exits 0
//
// While "attach" or "snapshot" is under way only "stop" is accepted. "stop" answers before the VM is taken
// apart, which takes the host some 15 to 40 ms; the process may be killed after the answer.
//
// The process ends with status 0 after a "stop" or an EOF, 1 after an error, 2 for wrong arguments.
//
// Slots: the platform device of the guest's disk slot i is "virtio-mmio.(i + 2)"; 0 is the console, 1 the
// pmem. The child appends their "virtio_mmio.device=" to the command line itself.
//
// The guest's kernel log arrives at the I/O port kConsolePort (string output), its events at kEventPort; see
// appliance/kernel/patches. The kernel command line must carry "insp_console=0x600".
#pragma once

#include <atomic>
#include <cstdint>

namespace inspect {

inline constexpr unsigned kMaxDiskSlots = 32;    // each takes 35 of the kernel command line's 2047 bytes
inline constexpr uint16_t kConsolePort = 0x600;  // outb/outsb: bytes of the kernel's log
inline constexpr uint16_t kEventPort = 0x601;    // outb: a GuestEvent
enum class GuestEvent : uint8_t { kPanic = 1, kRestart = 2, kHalt = 3 };

enum class VmmEnd : uint32_t {
    kRunning = 0,
    kStopped = 1,        // as asked
    kGuestPanic = 2,     // the kernel said so
    kGuestShutdown = 3,  // triple fault, restart or halt
    kGuestError = 4,     // an instruction or an exit that cannot be completed; `message` has bytes and RIP
    kHostError = 5,      // a system call of the VMM failed; `message` says which
};

enum class VmmExit : uint32_t { kIo, kMmio, kHlt, kIntr, kEmulation, kShutdown, kOther, kCount };

// Lives in the status memfd. Written by the child alone. The engine reads it at any time, also after the
// child's death, and believes nothing: offsets are taken modulo the ring, text ends at its bound.
struct VmmStatus {
    static constexpr uint32_t kVersion = 3;
    static constexpr uint32_t kRingSize = 64 * 1024;
    std::atomic<uint32_t> version;
    std::atomic<VmmEnd> end;
    std::atomic<uint64_t> setup_ns;  // from main() to the first KVM_RUN
    std::atomic<uint64_t> run_ns;    // inside KVM_RUN
    std::atomic<uint64_t> exit_ns;   // outside KVM_RUN since the first one: handling exits
    std::atomic<uint64_t> exits[static_cast<unsigned>(VmmExit::kCount)];
    std::atomic<uint64_t> block_requests;
    std::atomic<uint64_t> block_bytes_read;
    std::atomic<uint64_t> block_bytes_written;
    std::atomic<uint64_t> pages_touched;          // page faults of the vCPU's thread since the first KVM_RUN
    std::atomic<uint64_t> emulated_instructions;  // by software KVM, as it counts them; else 0
    std::atomic<uint64_t> block_errors;  // requests of the guest that failed because of the host's storage
    char block_error[256];               // what the first of them said
    char message[512];                   // for kGuest* and kHost* ends
    std::atomic<uint64_t> ring_written;  // bytes ever written to `ring`
    char ring[kRingSize];                // the tail of the guest's kernel log
};

}  // namespace inspect
