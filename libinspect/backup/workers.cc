// SPDX-License-Identifier: LGPL-2.1-or-later
#include "backup/workers.h"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

namespace inspect {

namespace {

constexpr std::chrono::milliseconds kTick{200};
// Beside those that compute, for those that wait for a file to be durable.
constexpr unsigned kWaiting = 2, kMost = 64;

}  // namespace

unsigned useful_threads() {
    return std::clamp(std::thread::hardware_concurrency(), 1U, kMost - kWaiting) + kWaiting;
}

void work_in_parallel(size_t count, unsigned threads, const std::function<void(size_t)>& work,
                      const std::function<void()>& tick) {
    std::atomic<size_t> next{0};
    std::mutex mutex;
    std::condition_variable ended;
    size_t running = std::min<size_t>(std::max(threads, 1U), count);
    std::exception_ptr failure;
    auto fail = [&] {
        const std::lock_guard guard(mutex);
        if (!failure) failure = std::current_exception();
        next = count;
    };
    auto run = [&] {
        try {
            for (size_t i = next++; i < count; i = next++) work(i);
        } catch (...) {
            fail();
        }
        const std::lock_guard guard(mutex);
        --running;
        ended.notify_one();
    };
    std::vector<std::thread> all;
    all.reserve(running);
    for (size_t i = 0, wanted = running; i < wanted; ++i) all.emplace_back(run);
    std::unique_lock lock(mutex);
    while (!ended.wait_for(lock, kTick, [&] { return running == 0; })) {
        lock.unlock();
        try {
            if (tick) tick();
        } catch (...) {
            fail();
        }
        lock.lock();
    }
    lock.unlock();
    for (std::thread& thread : all) thread.join();
    if (failure) std::rethrow_exception(failure);
    if (tick) tick();
}

}  // namespace inspect
