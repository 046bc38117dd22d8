// SPDX-License-Identifier: LGPL-2.1-or-later
//
// The seam between those who need an appliance and those who run one: options in, a Machine out.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <inspect/session.h>

#include "engine/channel.h"

namespace inspect {

// One disk for the guest, by descriptors that stay the caller's and must live as long as the Machine.
struct EngineDisk {
    std::string node;            // a DiskNode's text (block/disk_node.h)
    std::vector<int> node_fds;   // the descriptors that it names; read-only ones, where there is an overlay
    int overlay_memory_fd = -1;  // of an OverlayStore (block/overlay.h); -1: writes go to the node
    int overlay_spill_fd = -1;
    uint64_t size = 0;  // in bytes, where the disk is larger than the node, by its overlay; else 0
    uint32_t sector_size = 512;
    bool read_only = false;  // what the guest is told; with an overlay it may be false for a read-only image
    std::string serial;
};

// kvm_engine.h, qemu_engine.h; kAuto: the one that fits this host (engine_choice.h).
enum class EngineKind : uint8_t { kAuto, kKvm, kQemu };

struct EngineOptions {
    EngineKind engine = EngineKind::kAuto;
    std::vector<EngineDisk> disks;
    uint64_t memory_bytes = 0;  // 0: kDefaultMemory
    bool use_snapshot = true;
    bool verbose = false;             // the guest's kernel log goes to stderr at the end
    std::string appliance_directory;  // empty: found
    std::string cache_directory;      // empty: found
    // Readable (an eventfd that was written to): what goes on ends with Error(kCancelled), in start_machine()
    // as in the channel's calls. -1: nothing interrupts. The caller's; must live as long as the Machine.
    int interrupt_fd = -1;
};

// A running appliance whose agent is ready for its first request (Wake). Not thread-safe.
class Machine {
  public:
    // Kills the appliance if it still runs; never throws, doesn't wait for the host to take the VM apart.
    virtual ~Machine() = default;

    virtual Channel& channel() = 0;

    // Stops the virtual CPU, lets the disks be flushed and closed, and waits until the process that had them
    // is gone: nothing writes to the overlays any more. Throws Error(kEngine) when it did not end cleanly.
    // `wait` false: returns as soon as the disks are closed.
    virtual void stop(bool wait) = 0;

    virtual SessionStats stats() const = 0;
    // The last lines of the guest's kernel log, printable, at most some kilobytes.
    virtual std::string console_tail() const = 0;
};

// Starts an appliance: restored from a snapshot, which is made first where there is none that fits, or
// booted. Throws Error: kEngine, kNotFound (appliance files, /dev/kvm, QEMU), kDenied (/dev/kvm), kUsage (too
// many disks).
std::unique_ptr<Machine> start_machine(const EngineOptions& options);

}  // namespace inspect
