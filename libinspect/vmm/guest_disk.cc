// SPDX-License-Identifier: LGPL-2.1-or-later
#include "vmm/guest_disk.h"

#include <algorithm>
#include <cstring>

#include <inspect/error.h>

namespace inspect {

namespace {

uint64_t rounded_up(uint64_t size, uint32_t block_size) {
    const uint64_t mask = block_size - 1;
    if (size > ~mask) throw Error(ErrorKind::kCorrupt, "a disk of 2^64 bytes");
    return (size + mask) & ~mask;
}

}  // namespace

GuestDisk::GuestDisk(std::unique_ptr<BlockDevice> device, uint32_t block_size, bool read_only,
                     VmmStatus& status)
    : device_(std::move(device)),
      status_(status),
      size_(rounded_up(device_->size(), block_size)),
      read_only_(read_only || device_->read_only()) {}

uint64_t GuestDisk::stored(uint64_t offset, uint64_t length) const noexcept {
    const uint64_t end = device_->size();
    return std::min(length, end - std::min(offset, end));
}

template <typename Operation>
auto GuestDisk::counted(Operation operation) {
    status_.block_requests.fetch_add(1, std::memory_order_relaxed);
    try {
        return operation();
    } catch (const std::exception& error) {
        // The first one alone writes the text.
        if (status_.block_errors.fetch_add(1, std::memory_order_relaxed) == 0)
            std::strncpy(status_.block_error, error.what(), sizeof status_.block_error - 1);
        throw;
    }
}

void GuestDisk::read(uint64_t offset, std::span<std::byte> out) {
    counted([&] {
        require_range(offset, out.size());
        const uint64_t length = stored(offset, out.size());
        if (length > 0) device_->read(offset, out.first(length));
        std::ranges::fill(out.subspan(length), std::byte{0});
    });
    status_.block_bytes_read.fetch_add(out.size(), std::memory_order_relaxed);
}

void GuestDisk::write(uint64_t offset, std::span<const std::byte> in) {
    counted([&] {
        require_writable();
        require_range(offset, in.size());
        const uint64_t length = stored(offset, in.size());
        if (std::ranges::any_of(in.subspan(length), [](std::byte b) { return b != std::byte{0}; })) {
            throw Error(ErrorKind::kUsage,
                        "the guest wrote behind the end of an image that is no multiple of its block size");
        }
        if (length > 0) device_->write(offset, in.first(length));
    });
    status_.block_bytes_written.fetch_add(in.size(), std::memory_order_relaxed);
}

void GuestDisk::flush() {
    counted([&] {
        if (!read_only_) device_->flush();
    });
}

void GuestDisk::discard(uint64_t offset, uint64_t length) {
    counted([&] {
        require_writable();
        require_range(offset, length);
        if (const uint64_t n = stored(offset, length); n > 0) device_->discard(offset, n);
    });
}

void GuestDisk::write_zeroes(uint64_t offset, uint64_t length, bool may_unmap) {
    counted([&] {
        require_writable();
        require_range(offset, length);
        if (const uint64_t n = stored(offset, length); n > 0) device_->write_zeroes(offset, n, may_unmap);
    });
}

std::vector<Extent> GuestDisk::extents(uint64_t offset, uint64_t length) {
    return counted([&] {
        require_range(offset, length);
        const uint64_t n = stored(offset, length);
        std::vector<Extent> result;
        if (n > 0) result = device_->extents(offset, n);
        if (n == length) return result;
        if (!result.empty() && result.back().kind == ExtentKind::kZero) {
            result.back().length += length - n;
        } else {
            result.push_back({offset + n, length - n, ExtentKind::kZero});
        }
        return result;
    });
}

}  // namespace inspect
