// SPDX-License-Identifier: LGPL-2.1-or-later
//
// RawDevice: a regular file or a block device, byte for byte. Through the page cache or, where the descriptor
// was opened with O_DIRECT, past it: then what isn't aligned goes through a buffer of its own.
#pragma once

#include <string>

#include "base/fd.h"
#include "block/block_device.h"

namespace inspect {

class RawDevice final : public BlockDevice {
  public:
    // Takes `fd` over, which must be a regular file or a block device and open for reading, and for writing
    // unless read_only. Its size is taken now; a file that is shorter when it is read later is an Error.
    // `name` is what messages call it. Throws Error(kUnsupported) for other kinds of files.
    RawDevice(Fd fd, bool read_only, std::string name);

    uint64_t size() const noexcept override { return size_; }
    bool read_only() const noexcept override { return read_only_; }
    const std::string& name() const noexcept { return name_; }
    int fd() const noexcept { return fd_.get(); }

    void read(uint64_t offset, std::span<std::byte> out) override;
    void write(uint64_t offset, std::span<const std::byte> in) override;
    void readv(uint64_t offset, std::span<const iovec> out) override;
    void writev(uint64_t offset, std::span<const iovec> in) override;
    void flush() override;
    // On a file or a device that can't give space back this does nothing.
    void discard(uint64_t offset, uint64_t length) override;
    void write_zeroes(uint64_t offset, uint64_t length, bool may_unmap) override;
    void reserve(uint64_t offset, uint64_t length) override;
    // Regular files, and logical volumes by the host's lvm (block/host_volume.h), where what is new holds
    // whatever was there.
    void resize(uint64_t size) override;
    // kData and kHole as SEEK_DATA and SEEK_HOLE tell them; block devices are one kData.
    std::vector<Extent> extents(uint64_t offset, uint64_t length) override;

  private:
    uint64_t direct_alignment() const;
    void transfer_aligned(bool write, uint64_t offset, std::span<const iovec> pieces) const;
    void read_ends(uint64_t begin, std::span<std::byte> bytes, uint64_t offset, uint64_t end) const;
    void transfer_direct(bool write, uint64_t begin, std::span<std::byte> bytes, uint64_t needed) const;
    [[noreturn]] void fail(const char* operation, uint64_t offset, uint64_t length, int errnum) const;
    bool try_fallocate(int mode, uint64_t offset, uint64_t length, bool& supported);
    void write_zero_bytes(uint64_t offset, uint64_t length);

    Fd fd_;
    bool read_only_;
    bool block_device_ = false;
    bool can_punch_ = true;
    bool can_zero_range_ = true;
    uint64_t size_ = 0;
    uint64_t alignment_ = 0;  // of offsets, lengths and memory, if the descriptor has O_DIRECT; else 0
    std::string name_;
};

// The size in bytes of an open regular file or block device. Throws Error(kUnsupported), which names `name`,
// for anything else.
uint64_t file_or_device_size(int fd, const std::string& name);

}  // namespace inspect
