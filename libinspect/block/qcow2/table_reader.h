// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Reads a table of entries of various lengths (snapshots, bitmaps) from an image file, in bounded pieces.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <vector>

#include <inspect/error.h>

#include "base/checked.h"
#include "block/block_device.h"

namespace inspect {

// Not thread-safe.
class TableReader {
  public:
    // [offset, offset + limit) of the file is where the table may be; `name` is what messages call it.
    TableReader(BlockDevice& file, uint64_t offset, uint64_t limit, const char* name)
        : file_(file), start_(offset), at_(offset), name_(name) {
        const uint64_t size = file.size();
        end_ = offset > size ? offset : offset + std::min(limit, size - offset);
    }

    uint64_t position() const noexcept { return at_; }

    // All throw Error(kCorrupt) when the table would go on behind its end.
    template <typename T>
    T take() {
        T value;
        take_bytes(std::as_writable_bytes(std::span(&value, 1)));
        return value;
    }
    std::string take_text(size_t length) {
        if (length > end_ - at_) ended();
        std::string text(length, '\0');
        take_bytes(std::as_writable_bytes(std::span(text)));
        return text;
    }
    void align(uint64_t alignment) { at_ = std::min(end_, start_ + align_up(at_ - start_, alignment)); }

  private:
    static constexpr uint64_t kPiece = 64 << 10;

    void take_bytes(std::span<std::byte> out) {
        if (out.size() > end_ - at_) ended();
        while (!out.empty()) {
            if (at_ < buffer_at_ || at_ >= buffer_at_ + buffer_.size()) {
                buffer_.resize(std::min(kPiece, end_ - at_));
                buffer_at_ = at_;
                file_.read(at_, buffer_);
            }
            const size_t n = std::min<uint64_t>(out.size(), buffer_at_ + buffer_.size() - at_);
            std::memcpy(out.data(), buffer_.data() + (at_ - buffer_at_), n);
            out = out.subspan(n);
            at_ += n;
        }
    }
    [[noreturn]] void ended() const {
        throw Error(ErrorKind::kCorrupt, "the qcow2 image is damaged: " + std::string(name_) + " has no end");
    }

    BlockDevice& file_;
    uint64_t start_, at_, end_ = 0;
    const char* name_;
    std::vector<std::byte> buffer_;
    uint64_t buffer_at_ = 0;
};

}  // namespace inspect
