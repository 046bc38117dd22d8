// SPDX-License-Identifier: LGPL-2.1-or-later
//
// The arguments of insp-vmm (engine/vmm_process.h), parsed. All descriptors are inherited ones, by number.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "block/disk_node.h"

namespace inspect {

struct VmmArguments {
    struct Disk {
        DiskNode node;
        int overlay_memory = -1, overlay_spill = -1;  // both or none
        int nbd = -1;                                 // a socket to serve it on; without a virtual machine
        uint64_t size = 0;  // in bytes, if the overlay makes it larger than the node
        uint32_t block_size = 512;
        std::string serial;
        bool read_only = false;
    };
    int kvm = -1, channel = -1, control = -1, status = -1;
    int root = -1, kernel = -1, initrd = -1, restore_state = -1, restore_memory = -1;
    uint64_t memory_bytes = 0;
    unsigned slots = 0;
    std::string command_line;
    std::vector<Disk> disks;
    bool software_kvm = false;
    bool sandbox = true;

    // True: there is no virtual machine here, the disks are served to another one.
    bool serves_disks() const { return kvm < 0; }
    // All descriptors named.
    std::vector<int> descriptors() const;
};

// Throws Error(kUsage).
VmmArguments parse_vmm_arguments(int argc, char** argv);

}  // namespace inspect
