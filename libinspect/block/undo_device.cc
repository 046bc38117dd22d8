// SPDX-License-Identifier: LGPL-2.1-or-later
#include "block/undo_device.h"

#include <inspect/error.h>

#include "block/iovec.h"

namespace inspect {

void UndoDevice::write(uint64_t offset, std::span<const std::byte> in) {
    const iovec piece = to_iovec(in);
    writev(offset, {&piece, 1});
}

void UndoDevice::writev(uint64_t offset, std::span<const iovec> in) {
    const uint64_t length = iovec_bytes(in);
    require_range(offset, length);
    log_.save(*device_, offset, length);
    device_->writev(offset, in);
}

void UndoDevice::write_zeroes(uint64_t offset, uint64_t length, bool may_unmap) {
    require_range(offset, length);
    log_.save(*device_, offset, length);
    device_->write_zeroes(offset, length, may_unmap);
}

void UndoDevice::resize(uint64_t size) {
    if (size < log_.image_size())
        throw Error(ErrorKind::kUnsupported, "what may have to be put back can't be cut off");
    device_->resize(size);
}

}  // namespace inspect
