// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Walking through a scatter-gather list in slices that do not respect its pieces.
#pragma once

#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>

namespace inspect {

// The sum of the pieces' lengths; saturates, so that a nonsensical list fails the range check that follows.
inline uint64_t iovec_bytes(std::span<const iovec> pieces) {
    uint64_t sum = 0;
    for (const iovec& piece : pieces) {
        if (__builtin_add_overflow(sum, uint64_t{piece.iov_len}, &sum)) {
            return std::numeric_limits<uint64_t>::max();
        }
    }
    return sum;
}

inline iovec to_iovec(std::span<std::byte> bytes) { return {bytes.data(), bytes.size()}; }
// iovec has no const form; what is made by this may only be written from.
inline iovec to_iovec(std::span<const std::byte> bytes) {
    return {const_cast<std::byte*>(bytes.data()), bytes.size()};  // NOLINT
}

// Hands out consecutive slices of a list. Does not own the list. The span that take() returns is good until
// the next take().
class IovecCursor {
  public:
    static constexpr size_t kMaxPieces = 256;

    explicit IovecCursor(std::span<const iovec> pieces) : all_(pieces), pieces_(pieces) {}
    IovecCursor(const IovecCursor&) = delete;
    IovecCursor& operator=(const IovecCursor&) = delete;

    // The next bytes, at most `bytes` of them; less when the list ends or more than kMaxPieces pieces would
    // be needed. Empty only when nothing is left or bytes is 0. `taken` is how many bytes the slice has.
    std::span<const iovec> take(uint64_t bytes, uint64_t& taken) {
        size_t count = 0;
        taken = 0;
        while (!pieces_.empty() && taken < bytes && count < kMaxPieces) {
            const iovec& piece = pieces_.front();
            size_t n = std::min<uint64_t>(piece.iov_len - skip_, bytes - taken);
            if (n > 0) slice_[count++] = {static_cast<std::byte*>(piece.iov_base) + skip_, n};
            taken += n;
            skip_ += n;
            if (skip_ == piece.iov_len) {
                pieces_ = pieces_.subspan(1);
                skip_ = 0;
            }
        }
        return {slice_.data(), count};
    }

    // The next slice starts `position` bytes from the start of the list.
    void seek(uint64_t position) {
        pieces_ = all_;
        skip_ = 0;
        while (!pieces_.empty() && position >= pieces_.front().iov_len) {
            position -= pieces_.front().iov_len;
            pieces_ = pieces_.subspan(1);
        }
        if (!pieces_.empty()) skip_ = position;
    }

  private:
    std::span<const iovec> all_;
    std::span<const iovec> pieces_;  // what is left of it
    size_t skip_ = 0;                // bytes of the first piece that are gone
    std::array<iovec, kMaxPieces> slice_;
};

}  // namespace inspect
