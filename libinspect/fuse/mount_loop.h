// SPDX-License-Identifier: LGPL-2.1-or-later
//
// MountLoop: one thread between the host's kernel and the agent. It waits for what comes next, a request of
// FUSE's, an answer, a wish to unmount, and hands it on; it never waits for one of them alone.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include <inspect/error.h>

#include "base/fd.h"
#include "engine/channel.h"
#include "fuse/mount_record.h"
#include "fuse/mounted.h"
#include "fuse/tree_server.h"
#include "guest/pipeline.h"

namespace inspect::fuse {

class MountLoop {
  public:
    struct Parts {
        Mounted& mounted;
        Channel& channel;
        Pipeline& pipeline;
        TreeServer& server;
        MountRecord& record;
        int stop_fd;  // -1: none
    };
    explicit MountLoop(const Parts& parts);
    ~MountLoop();
    MountLoop(const MountLoop&) = delete;
    MountLoop& operator=(const MountLoop&) = delete;

    // Works until the tree is unmounted and everything has been answered. What became of the appliance, if it
    // was lost.
    std::optional<Error> run();

  private:
    enum class Unmount { kOrdinary, kLazy };

    void wait();
    void serve_kernel();
    template <typename Work>
    void with_appliance(Work work);
    void check_silence();
    void start_unmount(Unmount how);
    void end_unmount();
    void end_without_kernel();
    int timeout_ms() const;

    Parts parts_;
    fuse_session* session_;
    fuse_buf buffer_{};
    std::optional<Error> lost_;
    bool stopping_ = false;      // stop_fd was readable
    std::thread unmounting_;     // unmount(2) waits for us, so it can't be in this thread
    Fd unmounted_;               // an eventfd: the thread is through
    std::string unmount_error_;  // of the thread; empty: it worked
    Unmount how_ = Unmount::kOrdinary;
    bool detached_ = false;  // nobody finds the tree by its name any more; who uses it may go on
    Mounted::Place place_ = Mounted::Place::kHere;                       // of the thread: where the tree was
    std::optional<std::chrono::steady_clock::time_point> unmounted_at_;  // by us, when nobody used it
};

}  // namespace inspect::fuse
