// SPDX-License-Identifier: LGPL-2.1-or-later
#include "block/qcow2/slice_cache.h"

#include <algorithm>
#include <span>

#include "block/iovec.h"

namespace inspect {

std::byte* SliceCache::get(uint64_t offset) { return slots_[find(offset)].bytes.get(); }

std::byte* SliceCache::get_dirty(uint64_t offset) {
    Slot& slot = slots_[find(offset)];
    if (!slot.dirty) ++dirty_;
    slot.dirty = true;
    return slot.bytes.get();
}

uint32_t SliceCache::find(uint64_t offset) {
    if (last_ < slots_.size() && slots_[last_].offset == offset) return last_;
    if (const auto found = index_.find(offset); found != index_.end()) {
        last_ = found->second;
        slots_[last_].used = true;
        return last_;
    }
    const uint32_t slot = victim();
    const uint64_t size = file_.size();
    const size_t present = offset >= size ? 0 : std::min<uint64_t>(slice_size_, size - offset);
    std::byte* bytes = slots_[slot].bytes.get();
    if (present > 0) file_.read(offset, {bytes, present});
    std::fill(bytes + present, bytes + slice_size_, std::byte{0});
    slots_[slot].offset = offset;
    slots_[slot].used = true;
    index_[offset] = slot;
    return last_ = slot;
}

// An empty slot: a new one, or one whose slice went unused for longest (as far as a clock can tell).
uint32_t SliceCache::victim() {
    if (slots_.size() >= max_slices_ && dirty_ < slots_.size()) {
        for (size_t step = 0; step < 2 * slots_.size(); ++step) {
            const uint32_t slot = hand_;
            hand_ = (hand_ + 1) % static_cast<uint32_t>(slots_.size());
            if (slots_[slot].dirty) continue;
            if (!slots_[slot].used) {
                drop(slot);
                return slot;
            }
            slots_[slot].used = false;
        }
    }
    Slot slot;
    slot.bytes = std::make_unique_for_overwrite<std::byte[]>(slice_size_);
    slots_.push_back(std::move(slot));
    return static_cast<uint32_t>(slots_.size() - 1);
}

void SliceCache::drop(uint32_t slot) {
    if (slots_[slot].offset == kNone) return;
    index_.erase(slots_[slot].offset);
    slots_[slot].offset = kNone;
    if (slots_[slot].dirty) --dirty_;
    slots_[slot].dirty = false;
    slots_[slot].used = false;
}

void SliceCache::write_back() {
    if (dirty_ == 0) return;
    std::vector<uint32_t> order;
    order.reserve(dirty_);
    for (uint32_t slot = 0; slot < slots_.size(); ++slot) {
        if (slots_[slot].dirty) order.push_back(slot);
    }
    std::sort(order.begin(), order.end(),
              [&](uint32_t a, uint32_t b) { return slots_[a].offset < slots_[b].offset; });
    std::vector<iovec> pieces;
    for (size_t first = 0; first < order.size();) {
        const uint64_t offset = slots_[order[first]].offset;
        pieces.clear();
        size_t next = first;
        while (next < order.size() && pieces.size() < IovecCursor::kMaxPieces &&
               slots_[order[next]].offset == offset + pieces.size() * slice_size_) {
            pieces.push_back({slots_[order[next]].bytes.get(), slice_size_});
            ++next;
        }
        const uint64_t end = offset + pieces.size() * slice_size_;
        if (end > file_.size()) file_.resize(end);
        file_.writev(offset, pieces);
        for (; first < next; ++first) {
            slots_[order[first]].dirty = false;
            --dirty_;
        }
    }
}

void SliceCache::forget(uint64_t offset, uint64_t length) {
    for (uint64_t at = offset; at < offset + length; at += slice_size_) {
        if (const auto found = index_.find(at); found != index_.end()) drop(found->second);
    }
}

}  // namespace inspect
