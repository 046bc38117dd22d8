// SPDX-License-Identifier: LGPL-2.1-or-later
//
// SharedDevice: a BlockDevice for several threads: keeps the rule of block_device.h (reads beside each other,
// what changes the device alone), and doesn't let readers keep a writer waiting for ever.
#pragma once

#include <pthread.h>

#include <utility>

#include "block/block_device.h"

namespace inspect {

class SharedDevice {
  public:
    // `device` must outlive this.
    explicit SharedDevice(BlockDevice& device) : device_(device) {
        pthread_rwlockattr_t attributes;
        ::pthread_rwlockattr_init(&attributes);
        // std::shared_mutex would let a stream of overlapping readers starve the writers.
        ::pthread_rwlockattr_setkind_np(&attributes, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
        ::pthread_rwlock_init(&lock_, &attributes);
        ::pthread_rwlockattr_destroy(&attributes);
    }
    ~SharedDevice() { ::pthread_rwlock_destroy(&lock_); }
    SharedDevice(const SharedDevice&) = delete;
    SharedDevice& operator=(const SharedDevice&) = delete;

    // For what doesn't change while the device is shared: size() and read_only().
    const BlockDevice& properties() const noexcept { return device_; }

    void read(uint64_t offset, std::span<std::byte> out) {
        ::pthread_rwlock_rdlock(&lock_);
        const Unlock unlock{lock_};
        device_.read(offset, out);
    }
    // Calls `operation(BlockDevice&)` with nobody else in the device.
    template <typename Operation>
    auto alone(Operation operation) {
        ::pthread_rwlock_wrlock(&lock_);
        const Unlock unlock{lock_};
        return operation(device_);
    }

  private:
    struct Unlock {
        pthread_rwlock_t& lock;
        ~Unlock() { ::pthread_rwlock_unlock(&lock); }
    };
    BlockDevice& device_;
    pthread_rwlock_t lock_;
};

}  // namespace inspect
