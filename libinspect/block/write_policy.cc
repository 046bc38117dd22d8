// SPDX-License-Identifier: LGPL-2.1-or-later
#include "block/write_policy.h"

#include <algorithm>
#include <array>
#include <cstring>

#include <inspect/error.h>

#include "block/format.h"
#include "block/iovec.h"

namespace inspect {

void WritePolicy::write(uint64_t offset, std::span<const std::byte> in) {
    const iovec piece = to_iovec(in);
    writev(offset, {&piece, 1});
}

void WritePolicy::writev(uint64_t offset, std::span<const iovec> in) {
    if (rules_.guard_first_sector) guard(offset, in);
    device_->writev(offset, in);
    changed();
}

// Looks at the sector as it would be.
void WritePolicy::guard(uint64_t offset, std::span<const iovec> in) {
    std::array<std::byte, kFormatSector> sector{};
    const uint64_t end = std::min<uint64_t>(sector.size(), size());
    if (offset >= end) return;
    device_->read(0, std::span(sector).first(end));
    for (const iovec& piece : in) {
        if (offset >= end) break;
        std::memcpy(sector.data() + offset, piece.iov_base, std::min<uint64_t>(piece.iov_len, end - offset));
        offset += piece.iov_len;
    }
    refuse_foreign_format(std::span(sector).first(end));
}

void WritePolicy::flush() {
    if (!rules_.ignore_flush) device_->flush();
}

void WritePolicy::discard(uint64_t offset, uint64_t length) {
    device_->discard(offset, length);
    changed();
}

void WritePolicy::write_zeroes(uint64_t offset, uint64_t length, bool may_unmap) {
    device_->write_zeroes(offset, length, may_unmap);
    changed();
}

void WritePolicy::changed() {
    if (rules_.sync_writes) device_->flush();
}

}  // namespace inspect
