// SPDX-License-Identifier: GPL-2.0-or-later
//
// The appliance itself: what PID 1 does before the first request, and what a restored snapshot needs first.
#pragma once

#include "base/fd.h"
#include "disks.h"
#include "mounts.h"
#include "protocol/insp.pb.h"

namespace inspect::agent {

// Mounts /proc, /sys, /dev, makes the root image the root directory, and opens what a wake needs. All of it
// is in the snapshot, so what programs expect of /dev and the loopback device are made here, too, whether any
// will be run or not. Throws Failure; then the appliance is of no use.
class Machine {
  public:
    Machine();

    // The port that leads to the host. Waits for it to appear and to be connected.
    Fd open_port();
    // Clock and random pool: right after a boot or a restore, before anything draws random bytes.
    void wake(const proto::Wake& request);
    bool software_kvm() const { return software_kvm_; }

  private:
    bool try_mount_root_image();
    void mount_root_image();

    Fd random_;
    bool software_kvm_ = false;
};

// The directory that guests' trees are mounted on.
inline constexpr char kSysroot[] = "/sysroot";
// Where those that may be a system's root are mounted: this and a number.
inline constexpr char kSystems[] = "/run/system";

// Stops the machine for good: the VMM sees it as the end.
[[noreturn]] void stop_machine();

}  // namespace inspect::agent
