// SPDX-License-Identifier: LGPL-2.1-or-later
//
// MemoryDevice: a device in the program's own memory, for tests and fuzzers.
#pragma once

#include <algorithm>
#include <utility>
#include <vector>

#include "block/block_device.h"

namespace inspect {

class MemoryDevice final : public BlockDevice {
  public:
    explicit MemoryDevice(uint64_t size) : bytes_(size) {}
    explicit MemoryDevice(std::vector<std::byte> bytes) : bytes_(std::move(bytes)) {}

    uint64_t size() const noexcept override { return bytes_.size(); }
    bool read_only() const noexcept override { return false; }
    void read(uint64_t offset, std::span<std::byte> out) override {
        require_range(offset, out.size());
        std::copy_n(bytes_.begin() + static_cast<std::ptrdiff_t>(offset), out.size(), out.begin());
    }
    void write(uint64_t offset, std::span<const std::byte> in) override {
        require_range(offset, in.size());
        std::copy(in.begin(), in.end(), bytes_.begin() + static_cast<std::ptrdiff_t>(offset));
    }
    void flush() override {}
    void resize(uint64_t size) override { bytes_.resize(size); }
    void discard(uint64_t offset, uint64_t length) override { write_zeroes(offset, length, true); }
    void write_zeroes(uint64_t offset, uint64_t length, bool) override {
        require_range(offset, length);
        std::fill_n(bytes_.begin() + static_cast<std::ptrdiff_t>(offset), length, std::byte{0});
    }
    std::vector<Extent> extents(uint64_t offset, uint64_t length) override {
        require_range(offset, length);
        if (length == 0) return {};
        return {{offset, length, ExtentKind::kData}};
    }

    const std::vector<std::byte>& bytes() const noexcept { return bytes_; }

  private:
    std::vector<std::byte> bytes_;
};

}  // namespace inspect
