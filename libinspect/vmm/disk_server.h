// SPDX-License-Identifier: LGPL-2.1-or-later
//
// DiskServer: what insp-vmm does without a virtual machine of its own: it serves disks to another VMM, each
// by NBD on an inherited socket. So a hostile image is parsed in a process that has given up its rights,
// whoever runs the guest.
#pragma once

#include <list>
#include <memory>
#include <thread>
#include <vector>

#include "engine/vmm_process.h"
#include "vmm/gate.h"
#include "vmm/vmm_arguments.h"

namespace inspect {

class NbdServer;

// Used by one thread, in the order of its functions.
class DiskServer {
  public:
    // Opens the devices and begins the threads, one a disk, which wait: for the system call filter has no
    // room for how a thread begins. `status` must outlive this. Throws Error.
    DiskServer(const std::vector<VmmArguments::Disk>& disks, VmmStatus& status);
    ~DiskServer();
    DiskServer(const DiskServer&) = delete;
    DiskServer& operator=(const DiskServer&) = delete;

    void serve();
    // Takes no more requests, answers those under way and flushes the disks. Throws Error.
    void stop();

  private:
    struct Disk;
    void end_threads();

    Gate go_;
    std::list<Disk> disks_;
};

// The device of a disk: its node, and the overlay where there is one. Throws Error.
std::unique_ptr<BlockDevice> open_disk(const VmmArguments::Disk& disk);

}  // namespace inspect
