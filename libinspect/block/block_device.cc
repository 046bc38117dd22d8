// SPDX-License-Identifier: LGPL-2.1-or-later
#include "block/block_device.h"

#include <string>

#include <inspect/error.h>

#include "base/checked.h"
#include "block/iovec.h"

namespace inspect {

void BlockDevice::readv(uint64_t offset, std::span<const iovec> out) {
    require_range(offset, iovec_bytes(out));
    for (const iovec& piece : out) {
        read(offset, {static_cast<std::byte*>(piece.iov_base), piece.iov_len});
        offset += piece.iov_len;
    }
}

void BlockDevice::writev(uint64_t offset, std::span<const iovec> in) {
    require_range(offset, iovec_bytes(in));
    for (const iovec& piece : in) {
        write(offset, {static_cast<const std::byte*>(piece.iov_base), piece.iov_len});
        offset += piece.iov_len;
    }
}

void BlockDevice::reserve(uint64_t offset, uint64_t length) { require_range(offset, length); }

void BlockDevice::resize(uint64_t) {
    throw Error(ErrorKind::kUnsupported, "a device of this kind can't be made longer or shorter");
}

void BlockDevice::require_range(uint64_t offset, uint64_t length) const {
    if (range_fits(offset, length, size())) return;
    throw Error(ErrorKind::kUsage, "access of " + std::to_string(length) + " bytes at offset " +
                                       std::to_string(offset) + " of a device that has " +
                                       std::to_string(size()) + " bytes");
}

void BlockDevice::require_writable() const {
    if (read_only()) throw Error(ErrorKind::kDenied, "a device that was opened read-only cannot be written");
}

}  // namespace inspect
