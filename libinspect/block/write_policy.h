// SPDX-License-Identifier: LGPL-2.1-or-later
//
// WritePolicy: the device below it, with rules for what writing means: QEMU's cache modes "writethrough",
// "directsync" and "unsafe", and the guard over a raw image's first sector.
#pragma once

#include <memory>

#include "block/block_device.h"

namespace inspect {

class WritePolicy final : public BlockDevice {
  public:
    struct Rules {
        bool sync_writes = false;   // what changes something is durable when it returns
        bool ignore_flush = false;  // flush() does nothing
        // A write that would make the first sector look like another image format's throws Error(kDenied):
        // the next program that guesses formats would follow what a guest wrote there to any file of the
        // host.
        bool guard_first_sector = false;
    };
    WritePolicy(std::unique_ptr<BlockDevice> device, Rules rules)
        : device_(std::move(device)), rules_(rules) {}

    uint64_t size() const noexcept override { return device_->size(); }
    bool read_only() const noexcept override { return device_->read_only(); }
    void read(uint64_t offset, std::span<std::byte> out) override { device_->read(offset, out); }
    void readv(uint64_t offset, std::span<const iovec> out) override { device_->readv(offset, out); }
    void write(uint64_t offset, std::span<const std::byte> in) override;
    void writev(uint64_t offset, std::span<const iovec> in) override;
    void flush() override;
    void discard(uint64_t offset, uint64_t length) override;
    void write_zeroes(uint64_t offset, uint64_t length, bool may_unmap) override;
    void reserve(uint64_t offset, uint64_t length) override { device_->reserve(offset, length); }
    void resize(uint64_t size) override { device_->resize(size); }
    std::vector<Extent> extents(uint64_t offset, uint64_t length) override {
        return device_->extents(offset, length);
    }

  private:
    void guard(uint64_t offset, std::span<const iovec> in);
    void changed();

    std::unique_ptr<BlockDevice> device_;
    const Rules rules_;
};

}  // namespace inspect
