// SPDX-License-Identifier: LGPL-2.1-or-later
#include "block/overlay.h"

#include <algorithm>
#include <cstring>

#include <inspect/error.h>

#include "base/checked.h"
#include "base/zeros.h"
#include "block/iovec.h"

namespace inspect {

namespace {

constexpr uint64_t kBlockSize = OverlayStore::kBlockSize;
using Block = std::array<std::byte, kBlockSize>;

void fill_zero(std::span<const iovec> out) {
    for (const iovec& piece : out) std::memset(piece.iov_base, 0, piece.iov_len);
}

void copy_out(std::span<const iovec> from, std::byte* to) {
    for (const iovec& piece : from) {
        std::memcpy(to, piece.iov_base, piece.iov_len);
        to += piece.iov_len;
    }
}

// How much of the front of the pieces, `total` bytes in all, is whole blocks of zeros; where there are none,
// how much is before the first such block. The last block may be a part of one.
struct Stretch {
    uint64_t length = 0;
    bool zeros = false;
};
Stretch front_stretch(std::span<const iovec> pieces, uint64_t total) {
    Stretch stretch;
    size_t piece = 0, skip = 0;
    while (stretch.length < total) {
        const uint64_t block = std::min(kBlockSize, total - stretch.length);
        bool zeros = true;
        for (uint64_t left = block; left > 0;) {
            const size_t n = std::min<uint64_t>(pieces[piece].iov_len - skip, left);
            const auto* at = static_cast<const std::byte*>(pieces[piece].iov_base) + skip;
            zeros = zeros && is_all_zeros({at, n});
            left -= n;
            skip += n;
            if (skip < pieces[piece].iov_len) continue;
            ++piece;
            skip = 0;
        }
        if (stretch.length == 0) stretch.zeros = zeros;
        if (stretch.zeros != zeros) break;
        stretch.length += block;
    }
    return stretch;
}

bool in_store(OverlayStore::State state) {
    return state == OverlayStore::State::kMemory || state == OverlayStore::State::kSpill;
}

}  // namespace

Overlay::Overlay(std::unique_ptr<BlockDevice> lower, std::shared_ptr<OverlayStore> store)
    : lower_(std::move(lower)), store_(std::move(store)), lower_size_(lower_->size()), size_(lower_size_) {
    const bool can_grow = store_->size() > size_ && store_->size() % kBlockSize == 0;
    if (store_->size() != size_ && !can_grow) {
        throw Error(ErrorKind::kUsage, "the overlay is for a device of " + std::to_string(store_->size()) +
                                           " bytes, not " + std::to_string(size_));
    }
}

void Overlay::read(uint64_t offset, std::span<std::byte> out) {
    const iovec piece = to_iovec(out);
    readv(offset, {&piece, 1});
}

void Overlay::write(uint64_t offset, std::span<const std::byte> in) {
    const iovec piece = to_iovec(in);
    writev(offset, {&piece, 1});
}

// What is beyond the lower device's end, because this has grown, reads as zeros.
void Overlay::read_lower(uint64_t offset, std::span<const iovec> out) {
    const uint64_t total = iovec_bytes(out);
    if (offset + total <= lower_size_) {
        lower_->readv(offset, out);
        return;
    }
    uint64_t taken = 0;
    IovecCursor cursor(out);
    for (uint64_t at = offset; at < lower_size_; at += taken)
        lower_->readv(at, cursor.take(lower_size_ - at, taken));
    for (auto rest = cursor.take(total, taken); taken > 0; rest = cursor.take(total, taken)) fill_zero(rest);
}

void Overlay::read_run(const Run& run, std::span<const iovec> out) {
    switch (run.state) {
        case State::kLower:
            read_lower(run.offset, out);
            break;
        case State::kMemory:
        case State::kSpill:
            store_->read(run.state, run.offset, out);
            break;
        case State::kZero:
            fill_zero(out);
            break;
    }
}

void Overlay::readv(uint64_t offset, std::span<const iovec> out) {
    const uint64_t total = iovec_bytes(out);
    require_range(offset, total);
    if (total == 0) return;
    const uint64_t end = offset + total;
    Run run = store_->run_at(offset, end);
    if (run.end() == end) {  // nearly always: one state, one system call
        read_run(run, out);
        return;
    }
    IovecCursor cursor(out);
    while (true) {
        uint64_t taken;
        auto slice = cursor.take(run.length, taken);
        read_run({run.offset, taken, run.state}, slice);
        if (run.offset + taken == end) return;
        run = store_->run_at(run.offset + taken, end);
    }
}

// Writes a part of one block whose contents are still below (or zeros).
void Overlay::write_in_block(const Run& run, std::span<const iovec> in) {
    const uint64_t begin = align_down(run.offset, kBlockSize);
    const uint64_t end = std::min(begin + kBlockSize, store_->size());
    Block block;
    const std::span<std::byte> bytes(block.data(), end - begin);
    if (run.state == State::kLower) {
        const iovec piece = to_iovec(bytes);
        read_lower(begin, {&piece, 1});
    } else {
        std::memset(bytes.data(), 0, bytes.size());
    }
    copy_out(in, block.data() + (run.offset - begin));
    const iovec piece = to_iovec(bytes);
    store_->store(begin, {&piece, 1});
}

void Overlay::writev(uint64_t offset, std::span<const iovec> in) {
    const uint64_t total = iovec_bytes(in);
    require_range(offset, total);
    if (in.size() > IovecCursor::kMaxPieces) {  // the store takes whole blocks, in no more pieces than these
        std::vector<std::byte> copy(total);
        copy_out(in, copy.data());
        write(offset, copy);
        return;
    }
    const uint64_t start = offset, end = offset + total;
    IovecCursor cursor(in);
    while (offset < end) {
        const Run run = store_->run_at(offset, end);
        uint64_t taken;
        // The device's last block is whole when it is written to its end.
        const uint64_t whole_end =
            run.end() == store_->size() ? run.end() : align_down(run.end(), kBlockSize);
        if (offset % kBlockSize != 0 || whole_end <= offset) {
            const uint64_t block_end = std::min(align_down(offset, kBlockSize) + kBlockSize, run.end());
            auto slice = cursor.take(block_end - offset, taken);
            if (in_store(run.state)) {
                store_->overwrite(run.state, offset, slice);
            } else {
                write_in_block({offset, taken, run.state}, slice);
            }
            offset += taken;
            continue;
        }
        auto slice = cursor.take(whole_end - offset, taken);
        const Stretch stretch = front_stretch(slice, taken);
        if (stretch.zeros) {
            store_->set_zero(offset, stretch.length);
            offset += stretch.length;
        } else {
            cursor.seek(offset - start);
            slice = cursor.take(stretch.length, taken);
            if (in_store(run.state)) {
                store_->overwrite(run.state, offset, slice);
                offset += taken;
            } else {
                offset += store_->store(offset, slice);
            }
        }
        cursor.seek(offset - start);
    }
}

void Overlay::resize(uint64_t size) {
    if (size > store_->size())
        throw Error(ErrorKind::kNoSpace, "an image can't grow to " + std::to_string(size) + " bytes at once");
    // What is cut off must not come back when it grows again.
    if (size < size_) write_zeroes(size, size_ - size, true);
    size_ = size;
}

void Overlay::write_zero_bytes(uint64_t offset, uint64_t length) {
    static constexpr Block kZeros = {};
    if (store_->run_at(offset, offset + length).state == State::kZero) return;
    write(offset, std::span(kZeros).first(length));
}

void Overlay::write_zeroes(uint64_t offset, uint64_t length, bool) {
    require_range(offset, length);
    if (length == 0) return;
    const uint64_t end = offset + length;
    const uint64_t whole_begin = align_up(offset, kBlockSize);
    const uint64_t whole_end = end == store_->size() ? end : align_down(end, kBlockSize);
    if (whole_begin >= whole_end) {  // within one block, or over the seam of two
        const uint64_t seam = std::min(whole_begin, end);
        if (seam > offset) write_zero_bytes(offset, seam - offset);
        if (end > seam) write_zero_bytes(seam, end - seam);
        return;
    }
    if (whole_begin > offset) write_zero_bytes(offset, whole_begin - offset);
    store_->set_zero(whole_begin, whole_end - whole_begin);
    if (end > whole_end) write_zero_bytes(whole_end, end - whole_end);
}

void Overlay::discard(uint64_t offset, uint64_t length) {
    require_range(offset, length);
    const uint64_t end = offset + length;
    const uint64_t whole_begin = align_up(offset, kBlockSize);
    const uint64_t whole_end = end == store_->size() ? end : align_down(end, kBlockSize);
    if (whole_begin < whole_end) store_->set_zero(whole_begin, whole_end - whole_begin);
}

std::vector<Extent> Overlay::extents(uint64_t offset, uint64_t length) {
    require_range(offset, length);
    const uint64_t end = offset + length;
    std::vector<Extent> result;
    auto add = [&result](Extent extent) {
        if (!result.empty() && result.back().kind == extent.kind) {
            result.back().length += extent.length;
        } else {
            result.push_back(extent);
        }
    };
    while (offset < end) {
        const Run run = store_->run_at(offset, end);
        if (run.state == State::kLower) {
            const uint64_t below = run.offset < lower_size_ ? std::min(run.end(), lower_size_) : run.offset;
            if (below > run.offset)
                for (const Extent& extent : lower_->extents(run.offset, below - run.offset)) add(extent);
            if (run.end() > below) add({below, run.end() - below, ExtentKind::kHole});
        } else {
            add({run.offset, run.length, in_store(run.state) ? ExtentKind::kData : ExtentKind::kZero});
        }
        offset = run.end();
    }
    return result;
}

}  // namespace inspect
