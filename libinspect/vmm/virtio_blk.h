// SPDX-License-Identifier: LGPL-2.1-or-later
//
// VirtioBlk: a BlockDevice as the guest's disk (virtio 1.2, section 5.2).
//
// Requests are served in the vCPU's thread, one after the other, straight between the device and guest
// memory: the guest has one CPU, which would only wait meanwhile.
//
// A disk's size need not be a multiple of the sector size. The guest sees it rounded up to whole blocks. What
// is read behind the end is zeros. What is written there must be zeros, else the request fails and writes
// nothing: no byte is ever silently lost.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>

#include "block/block_device.h"
#include "engine/vmm_process.h"
#include "vmm/virtio_device.h"

namespace inspect {

class VirtioBlk final : public VirtioDevice {
  public:
    static constexpr uint64_t kSectorSize = 512;  // the unit of the protocol, whatever the block size
    static constexpr size_t kSerialBytes = 20;
    static constexpr uint16_t kQueueSize = 128;
    static constexpr uint64_t kMaxRequestBytes = uint64_t{256} << 20;
    static constexpr uint32_t kMaxRanges = 16;              // in one DISCARD or WRITE_ZEROES
    static constexpr uint32_t kMaxRangeSectors = 1u << 21;  // 1 GiB

    enum Feature : uint64_t {
        kSegMax = 1u << 2,
        kReadOnly = 1u << 5,
        kBlockSize = 1u << 6,
        kFlush = 1u << 9,
        kDiscard = 1u << 13,
        kWriteZeroes = 1u << 14,
    };
    enum class Request : uint32_t {
        kIn = 0,
        kOut = 1,
        kFlush = 4,
        kGetId = 8,
        kDiscard = 11,
        kWriteZeroes = 13
    };
    enum class Status : uint8_t { kOk = 0, kIoError = 1, kUnsupported = 2 };

    struct Options {
        uint32_t block_size = 512;  // logical block size: 512 or 4096
        bool read_only = false;     // also when the device is
        std::string serial = {};    // at most kSerialBytes count
    };

    // `memory` and `status` (counters, the first error) must outlive this. While `stopping` is true no more
    // requests are begun.
    VirtioBlk(const GuestMemory& memory, std::unique_ptr<BlockDevice> device, const Options& options,
              VmmStatus& status, const std::atomic<bool>& stopping);

    void notify(unsigned queue, std::unique_lock<std::mutex>& lock) override;

    // Makes all that was written durable and closes the device; no request may come after. Throws Error.
    void close();

  private:
    void serve(DescriptorChain& chain, uint32_t& written);
    Status execute(Request type, uint64_t sector, DescriptorChain& chain);
    Status read(uint64_t sector, std::span<const iovec> data, uint64_t bytes);
    Status write(uint64_t sector, std::span<const iovec> data, uint64_t bytes);
    Status clear_ranges(Request type, std::span<const iovec> data, uint64_t bytes);
    Status get_id(std::span<const iovec> data, uint64_t bytes);
    bool in_disk(uint64_t sector, uint64_t bytes) const;
    void remember_error(const char* what);

    std::unique_ptr<BlockDevice> device_;
    const Options options_;
    const bool read_only_;
    const uint64_t capacity_bytes_;  // as the guest sees it
    VmmStatus& status_;
    const std::atomic<bool>& stopping_;
    DescriptorChain chain_;
};

}  // namespace inspect
