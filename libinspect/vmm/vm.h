// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Vm: an appliance's virtual machine, put together from its parts: memory, one vCPU, interrupt controllers, a
// console, the root image and disk slots; booted or restored from a snapshot.
//
// Two threads use it. The vCPU's thread constructs it and calls run(), which serves everything that the guest
// asks for. The I/O thread moves the channel's input (io_thread.h) and passes requests on; what they change
// is changed by the vCPU's thread, between two runs of the vCPU.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include <inspect/error.h>

#include "base/fd.h"
#include "engine/vmm_process.h"
#include "vmm/guest_memory.h"
#include "vmm/interrupt_lines.h"
#include "vmm/kvm_counter.h"
#include "vmm/pio.h"
#include "vmm/snapshot_files.h"
#include "vmm/vcpu.h"
#include "vmm/virtio_blk.h"
#include "vmm/virtio_console.h"
#include "vmm/virtio_mmio.h"

namespace inspect {

// The snapshot is the reason why there is no VM; a boot may succeed.
class BadSnapshot : public Error {
  public:
    explicit BadSnapshot(std::string why) : Error(ErrorKind::kCorrupt, std::move(why)) {}
};

class Vm {
  public:
    struct Disk {
        std::unique_ptr<BlockDevice> device;
        VirtioBlk::Options options;
    };
    // The descriptors stay the caller's and must stay open; -1 is none.
    struct Options {
        int kvm = -1;
        int channel = -1;
        uint64_t memory_bytes = 0;  // a multiple of the page size, kMinMemoryBytes to kMaxMemoryBytes
        unsigned slots = 1;         // 1 to kMaxDiskSlots
        int root = -1;
        bool software_kvm = false;
        // To boot; initrd may be none.
        int kernel = -1;
        int initrd = -1;
        std::string command_line;
        // To restore.
        int restore_state = -1;
        int restore_memory = -1;
        std::vector<Disk> disks;  // at most `slots`
    };

    // Makes the VM, up to where run() starts it. Throws Error; BadSnapshot.
    Vm(Options options, VmmStatus& status);

    // Runs the guest until it or the VM ends; says how in the status page. The calling thread is the vCPU's.
    void run(std::chrono::steady_clock::time_point process_start);
    // After run(): flushes and closes the disks. Throws Error.
    void close_disks();

    // For the I/O thread.
    void stop() noexcept;  // run() returns soon
    // Called by the vCPU's thread when the request is done, with an empty string or the reason why not.
    using Done = std::function<void(const std::string& error)>;
    // One request at a time: false, and nothing done, while another is pending.
    bool request_attach(Done done);
    bool request_snapshot(Fd state, Fd memory, Done done);
    bool request_pending() const noexcept { return request_pending_.load(std::memory_order_acquire); }
    // Lets the vCPU look at a pending request again.
    void nudge() noexcept { vcpu_->kick(); }

    std::mutex& console_mutex() noexcept { return transports_[0]->mutex(); }
    VirtioConsole& console() noexcept { return *console_; }
    int wake_event() const noexcept { return wake_event_.get(); }
    int stop_event() const noexcept { return stop_event_.get(); }

  private:
    struct Request {
        enum Kind { kAttach, kSnapshot } kind;
        Fd state, memory;
        Done done;
        std::chrono::steady_clock::time_point deadline;
    };

    void make_memory();
    void make_kvm_vm();
    void make_devices();
    void boot();
    void restore();
    void attach_disks();
    SnapshotShape shape() const;

    bool post(Request request);
    void serve_request();
    void take_snapshot(const Request& request);

    bool handle_exit();  // false: the guest has ended
    bool handle_io();
    void handle_mmio();
    bool handle_internal_error();
    bool handle_event(GuestEvent event);
    void end(VmmEnd how, const std::string& message);
    void count(VmmExit cause) noexcept;

    Options options_;
    VmmStatus& status_;
    uint64_t root_bytes_ = 0;  // as mapped
    std::atomic<bool> stopping_{false};
    Fd stop_event_, wake_event_;

    std::vector<std::byte> state_file_;  // while restoring
    DecodedState restored_{};
    GuestMemory memory_;
    Fd vm_;
    std::optional<Vcpu> vcpu_;
    KvmCounter emulated_;
    std::optional<InterruptLines> lines_;
    PortIo ports_;
    std::vector<std::unique_ptr<MmioTransport>> transports_;
    VirtioConsole* console_ = nullptr;  // owned by its transport
    bool disks_attached_ = false;

    std::mutex request_mutex_;
    std::optional<Request> request_;
    std::atomic<bool> request_pending_{false};
};

}  // namespace inspect
