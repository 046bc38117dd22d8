// SPDX-License-Identifier: LGPL-2.1-or-later
//
// RepositoryLock: says in the repository that somebody works with it, as restic does (its design document,
// "Locks"). Any number of readers and writers go together; who removes something must be alone.
#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <string>
#include <thread>

#include "repository/repository.h"

namespace inspect::repository {

enum class LockKind : uint8_t { kShared, kExclusive };

struct LockInfo {
    Timestamp time;
    bool exclusive = false;
    std::string hostname;
    std::string username;
    uint64_t pid = 0;

    // Its holder is gone: it is older than half an hour (holders renew theirs), or was of this host and there
    // is no such process any more.
    bool stale(const Timestamp& now, const std::string& this_host) const;
    // "PID 1234 on host by user since 2026-…".
    std::string describe() const;
};

// Throws Error(kCorrupt).
LockInfo parse_lock(std::string_view text);
std::string format_lock(const LockInfo& lock);

// Holds the lock while it lives, and renews it. Thread-safe.
class RepositoryLock {
  public:
    // Stale locks of others are removed. Throws Error; kBusy when a lock of somebody else forbids this one.
    RepositoryLock(Repository& repository, LockKind kind);
    ~RepositoryLock();
    RepositoryLock(const RepositoryLock&) = delete;
    RepositoryLock& operator=(const RepositoryLock&) = delete;

    static constexpr std::chrono::minutes kRenewal{5};
    static constexpr std::chrono::minutes kStale{30};

  private:
    void refuse_conflicts();
    void write();
    void renew_until_stopped();

    Repository& repository_;
    const LockKind kind_;
    ObjectId id_;  // the thread's, once it runs
    std::mutex mutex_;
    std::condition_variable stopping_;
    bool stop_ = false;
    std::thread renewer_;
};

}  // namespace inspect::repository
