// SPDX-License-Identifier: LGPL-2.1-or-later
//
// A device for a test that goes on with it after whoever was given it is gone.
#pragma once

#include "block/block_device.h"

namespace inspect {

// A device that another one owns: what a driver has written can be looked at when the driver is gone.
class BorrowedDevice final : public BlockDevice {
  public:
    explicit BorrowedDevice(BlockDevice& device) : device_(device) {}
    uint64_t size() const noexcept override { return device_.size(); }
    bool read_only() const noexcept override { return device_.read_only(); }
    void read(uint64_t offset, std::span<std::byte> out) override { device_.read(offset, out); }
    void write(uint64_t offset, std::span<const std::byte> in) override { device_.write(offset, in); }
    void flush() override { device_.flush(); }
    void discard(uint64_t offset, uint64_t length) override { device_.discard(offset, length); }
    void write_zeroes(uint64_t offset, uint64_t length, bool may_unmap) override {
        device_.write_zeroes(offset, length, may_unmap);
    }
    void resize(uint64_t size) override { device_.resize(size); }
    std::vector<Extent> extents(uint64_t offset, uint64_t length) override {
        return device_.extents(offset, length);
    }

  private:
    BlockDevice& device_;
};

}  // namespace inspect
