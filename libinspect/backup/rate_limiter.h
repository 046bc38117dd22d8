// SPDX-License-Identifier: LGPL-2.1-or-later
//
// RateLimiter: slows those who ask down to so many bytes a second in all.
#pragma once

#include <chrono>
#include <cstdint>
#include <mutex>
#include <thread>

namespace inspect {

// Thread-safe.
class RateLimiter {
  public:
    // 0: no limit.
    explicit RateLimiter(uint64_t bytes_per_second) : rate_(bytes_per_second) {}

    // Waits until so many bytes may pass.
    void pass(uint64_t bytes) {
        if (rate_ == 0) return;
        Clock::time_point turn;
        {
            const std::lock_guard guard(mutex_);
            turn = next_ = std::max(next_, Clock::now());
            next_ += std::chrono::nanoseconds(
                static_cast<int64_t>(static_cast<double>(bytes) * 1e9 / static_cast<double>(rate_)));
        }
        std::this_thread::sleep_until(turn);
    }

  private:
    using Clock = std::chrono::steady_clock;
    const uint64_t rate_;
    std::mutex mutex_;
    Clock::time_point next_ = Clock::now();
};

}  // namespace inspect
