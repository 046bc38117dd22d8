// SPDX-License-Identifier: LGPL-2.1-or-later
//
// QEMU's command line for an appliance. docs/qemu.md has the reasons.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace inspect {

struct QemuDisk {
    int nbd = -1;  // a socket with an NBD server at its other end
    uint32_t sector_size = 512;
    bool read_only = false;
};

// All descriptors are such that QEMU inherits. Its standard output is the guest's console.
struct QemuMachineOptions {
    std::string program;
    std::string accelerator;  // "tcg" or "kvm"
    uint64_t memory_bytes = 0;
    int kernel = -1, initrd = -1;  // files; not asked for where a snapshot is restored, whose memory has them
    int root = -1;                 // a file
    std::string kernel_command_line;  // without the devices, which are added
    int channel = -1;                 // a stream socket: the agent's port
    int monitor = -1;                 // a stream socket, or -1: none
    // The guest's memory: a file of that size, or -1. What the guest writes goes into the file while a
    // snapshot is made of it, and else stays private.
    int memory_file = -1;
    bool makes_snapshot = false;
    bool restores_snapshot = false;  // waits for a state to be given to its monitor
    std::vector<QemuDisk> disks;     // at most kMaxQemuDisks
};

// microvm has eight virtio-mmio devices without ACPI; the console and the root image are two of them.
inline constexpr size_t kMaxQemuDisks = 6;

// The descriptors that are named.
std::vector<int> qemu_descriptors(const QemuMachineOptions& options);
std::vector<std::string> qemu_arguments(const QemuMachineOptions& options);

}  // namespace inspect
