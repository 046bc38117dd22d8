// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Gate: opened once by one thread, waited for by others. (std::atomic's wait() and std::latch give the CPU
// away before they sleep, which on a busy machine is milliseconds.)
#pragma once

#include <condition_variable>
#include <mutex>

namespace inspect {

// Thread-safe.
class Gate {
  public:
    void open() {
        std::lock_guard lock(mutex_);
        open_ = true;
        condition_.notify_all();
    }
    void wait() {
        std::unique_lock lock(mutex_);
        condition_.wait(lock, [this] { return open_; });
    }

  private:
    std::mutex mutex_;
    std::condition_variable condition_;
    bool open_ = false;
};

}  // namespace inspect
