// SPDX-License-Identifier: LGPL-2.1-or-later
//
// BlockDevice: the one small interface that everything stacks on (raw files, overlays, formats, faults).
//
// A device is an array of bytes. All offsets and lengths are in bytes and need not be aligned
// unless an implementation says so; [offset, offset + length) must lie within size(), else the call throws
// Error(kUsage). Failures of the storage throw Error; a short transfer is a failure.
//
// Durability: what write, discard and write_zeroes did is on stable storage only after a flush() that began
// later has returned. Until then a crash may keep, drop or tear any of it.
//
// Thread-safety: const functions and read() may run concurrently with each other; calls that change the
// device may not run concurrently with any other on the same object. Implementations own what they stand on.
#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace inspect {

// What a range of a device is known to hold. kHole: not allocated, reads as zeros. kZero: allocated or
// marked, reads as zeros. kData: anything.
enum class ExtentKind : uint8_t { kData, kZero, kHole };

struct Extent {
    uint64_t offset;  // bytes
    uint64_t length;  // bytes, never 0
    ExtentKind kind;
};

class BlockDevice {
  public:
    virtual ~BlockDevice() = default;
    BlockDevice(const BlockDevice&) = delete;
    BlockDevice& operator=(const BlockDevice&) = delete;

    // In bytes; need not be a multiple of 512. Changes by resize() alone.
    virtual uint64_t size() const noexcept = 0;
    virtual bool read_only() const noexcept = 0;

    virtual void read(uint64_t offset, std::span<std::byte> out) = 0;
    // On a read-only device write, discard and write_zeroes throw Error(kDenied).
    virtual void write(uint64_t offset, std::span<const std::byte> in) = 0;
    virtual void flush() = 0;
    // The range's contents become undefined-but-stable (this project's devices make them zeros where that is
    // free); space is released where possible. A device that can't discard does nothing.
    virtual void discard(uint64_t offset, uint64_t length) = 0;
    // The range reads as zeros afterwards. With may_unmap space may be released.
    virtual void write_zeroes(uint64_t offset, uint64_t length, bool may_unmap) = 0;

    // The same for memory in pieces, as a guest's scatter-gather list has it: the transfer goes to or from
    // the pieces in order and is as long as they are together. Pieces may be empty and there may be any
    // number of them. The defaults do a read() or write() a piece; devices that can do better with one system
    // call do.
    virtual void readv(uint64_t offset, std::span<const iovec> out);
    virtual void writev(uint64_t offset, std::span<const iovec> in);

    // Makes it unlikely that a later write to the range fails for want of space. Contents stay. Throws
    // Error(kNoSpace) when there is no room; a device that can't tell does nothing, which is the default.
    virtual void reserve(uint64_t offset, uint64_t length);

    // Makes the device `size` bytes long. What is new reads as zeros (but see RawDevice), what is beyond the
    // end is gone; durable after a flush(), as all else. Throws Error(kUnsupported) on a device that can't,
    // which is the default.
    virtual void resize(uint64_t size);

    // As much of a disk as extents() is asked for at once: bounds its list.
    static constexpr uint64_t kExtentStep = uint64_t{64} << 30;

    // The extents of [offset, offset + length), in order, gap-free, adjacent ones of different kinds.
    // A device that can't tell answers one kData.
    virtual std::vector<Extent> extents(uint64_t offset, uint64_t length) = 0;

  protected:
    BlockDevice() = default;

    // Throws Error(kUsage) unless [offset, offset + length) lies within size(). What every operation begins
    // with.
    void require_range(uint64_t offset, uint64_t length) const;
    // Throws Error(kDenied) on a read-only device.
    void require_writable() const;
};

}  // namespace inspect
