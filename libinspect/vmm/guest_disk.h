// SPDX-License-Identifier: LGPL-2.1-or-later
//
// GuestDisk: a device as a guest of another VMM may see it: whole blocks, counted. What virtio_blk.h does for
// our own guests: the size is rounded up to whole blocks; behind the end of the device a guest reads zeros
// and may write zeros, and a request that writes anything else there fails as a whole (docs/vmm.md).
#pragma once

#include <memory>

#include "block/block_device.h"
#include "engine/vmm_process.h"

namespace inspect {

// Thread-safety as of every BlockDevice. Requests, bytes and the first error go to `status`, which must
// outlive this and may be shared by disks in different threads.
class GuestDisk final : public BlockDevice {
  public:
    // block_size: a power of two, in bytes.
    GuestDisk(std::unique_ptr<BlockDevice> device, uint32_t block_size, bool read_only, VmmStatus& status);

    uint64_t size() const noexcept override { return size_; }
    bool read_only() const noexcept override { return read_only_; }
    void read(uint64_t offset, std::span<std::byte> out) override;
    void write(uint64_t offset, std::span<const std::byte> in) override;
    void flush() override;
    void discard(uint64_t offset, uint64_t length) override;
    void write_zeroes(uint64_t offset, uint64_t length, bool may_unmap) override;
    std::vector<Extent> extents(uint64_t offset, uint64_t length) override;

  private:
    // How much of [offset, offset + length) the device has.
    uint64_t stored(uint64_t offset, uint64_t length) const noexcept;
    template <typename Operation>
    auto counted(Operation operation);

    std::unique_ptr<BlockDevice> device_;
    VmmStatus& status_;
    uint64_t size_;
    bool read_only_;
};

}  // namespace inspect
