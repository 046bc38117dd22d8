// SPDX-License-Identifier: LGPL-2.1-or-later
//
// NbdBridge: an NBD device and, where there is one, the program of ours that serves it. As a device it is the
// former; when it goes, the latter is ended.
#pragma once

#include <chrono>
#include <memory>
#include <utility>

#include "base/subprocess.h"
#include "block/nbd_device.h"

namespace inspect {

// Not thread-safe, except as BlockDevice is.
class NbdBridge : public BlockDevice {
  public:
    explicit NbdBridge(std::unique_ptr<NbdDevice> device, std::unique_ptr<Subprocess> program = nullptr)
        : program_(std::move(program)), device_(std::move(device)) {}
    ~NbdBridge() override {
        device_.reset();  // hangs up first: the program then has nothing left to do but to close the image
        if (program_) program_->end(kEndTimeout);
    }

    // To hand the connection to another process (NbdDevice::release()). This must outlive its use.
    NbdDevice& connection() noexcept { return *device_; }

    uint64_t size() const noexcept override { return device_->size(); }
    bool read_only() const noexcept override { return device_->read_only(); }
    void read(uint64_t offset, std::span<std::byte> out) override { device_->read(offset, out); }
    void write(uint64_t offset, std::span<const std::byte> in) override { device_->write(offset, in); }
    void readv(uint64_t offset, std::span<const iovec> out) override { device_->readv(offset, out); }
    void writev(uint64_t offset, std::span<const iovec> in) override { device_->writev(offset, in); }
    void flush() override { device_->flush(); }
    void discard(uint64_t offset, uint64_t length) override { device_->discard(offset, length); }
    void write_zeroes(uint64_t offset, uint64_t length, bool may_unmap) override {
        device_->write_zeroes(offset, length, may_unmap);
    }
    std::vector<Extent> extents(uint64_t offset, uint64_t length) override {
        return device_->extents(offset, length);
    }

  private:
    // For writing back what a format keeps in memory. A dead host's NFS ends neither sooner nor later.
    static constexpr std::chrono::seconds kEndTimeout{60};
    std::unique_ptr<Subprocess> program_;
    std::unique_ptr<NbdDevice> device_;
};

}  // namespace inspect
