// SPDX-License-Identifier: LGPL-2.1-or-later
//
// VmmChild: the process insp-vmm as its parent sees it (the contract is in vmm_process.h): started, asked,
// watched, ended. Nothing that it says is believed without a bound.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <inspect/error.h>
#include <inspect/session.h>

#include "base/fd.h"
#include "engine/engine.h"
#include "engine/vmm_process.h"
#include "engine/warm_start.h"

namespace inspect {

// How long a machine's processes may take.
inline constexpr std::chrono::seconds kSetupTimeout{20};  // milliseconds, unless the host is on its knees
inline constexpr std::chrono::seconds kBootTimeout{120};  // ten times what the slowest host needs
inline constexpr std::chrono::seconds kStopTimeout{60};   // flushing the disks

// Bytes of the kernel's log in an error: a panic with its call trace.
inline constexpr size_t kConsoleShown = 4096;

// The peak resident memory of a process that runs, in bytes; 0 when it can't be told.
uint64_t peak_rss_bytes(pid_t pid);
// Text for a message: bytes that aren't printable are replaced.
std::string printable_console(std::string_view text);

class VmmChild {
  public:
    // Arguments under construction; descriptors that are named in them are inherited by the child.
    class Arguments {
      public:
        void add(std::string argument) { text_.push_back(std::move(argument)); }
        void add_fd(const std::string& option, int fd) {
            text_.push_back("--" + option + "=" + std::to_string(fd));
            inherit(fd);
        }
        void inherit(int fd) { fds_.push_back(fd); }
        // nbd_fd: a socket to serve the disk on, where there is no virtual machine; -1: none.
        void add_disk(const EngineDisk& disk, int nbd_fd = -1);

      private:
        friend class VmmChild;
        std::vector<std::string> text_;
        std::vector<int> fds_;
    };

    enum class Holds : uint8_t { kMachine, kDisks };

    // Starts `program`; --control and --status, and for a machine --channel, are added here. Throws
    // Error(kEngine).
    VmmChild(const std::string& program, Arguments arguments, Holds holds = Holds::kMachine);
    // SIGKILL; the process is reaped later, in the background of this process's next calls.
    ~VmmChild();
    VmmChild(const VmmChild&) = delete;
    VmmChild& operator=(const VmmChild&) = delete;

    // Waits for "ready". Throws SnapshotRejected, or Error(kEngine) with what the child said.
    void wait_ready(std::chrono::milliseconds timeout);
    // Sends a request with descriptors and waits for its "ok". Throws Error(kEngine).
    void request(const std::string& text, std::span<const int> fds, std::chrono::milliseconds timeout);
    // Waits until the process is gone and reaps it; kills it after the timeout. True: it ended with status 0.
    bool wait_exit(std::chrono::milliseconds timeout);
    void kill() noexcept;

    int channel_fd() const { return channel_.get(); }  // of a machine
    pid_t pid() const { return pid_; }

    // How it is or was, from the status page.
    VmmEnd end() const;
    SessionStats stats() const;
    // The last `limit` bytes of the guest's kernel log, unprintable bytes replaced.
    std::string console_tail(size_t limit = 8192) const;
    // What happened to it, as a sentence, with the kernel's last lines where the guest is at fault.
    Error failure(const std::string& what) const;

  private:
    std::string receive(std::chrono::milliseconds timeout);

    pid_t pid_ = -1;
    bool reaped_ = false;
    int exit_status_ = 0;
    Fd pidfd_;
    Fd channel_;
    Fd control_;
    Fd status_fd_;
    const VmmStatus* status_ = nullptr;
};

}  // namespace inspect
