// SPDX-License-Identifier: LGPL-2.1-or-later
//
// The rings (virtio 1.2, sections 2.7.5 to 2.7.8), all little-endian:
//
//   descriptor table   size * { address 64, length 32, flags 16, next 16 }          16-aligned
//   available ring     flags 16, idx 16, ring[size] 16, used_event 16               2-aligned
//   used ring          flags 16, idx 16, ring[size] { id 32, len 32 }, avail_event 16    4-aligned
#include "vmm/virtqueue.h"

#include <atomic>
#include <bit>

#include "base/endian.h"

namespace inspect {

namespace {

constexpr uint16_t kNext = 1, kWrite = 2, kIndirect = 4;  // of a descriptor
constexpr uint16_t kNoInterrupt = 1;                      // of the available ring
constexpr uint16_t kNoNotify = 1;                         // of the used ring
constexpr size_t kDescriptorBytes = 16;
constexpr size_t kRingHeader = 4;
constexpr size_t kIndexAt = 2;
constexpr size_t kUsedEntryBytes = 8;

struct UsedEntry {
    le32 id;
    le32 length;
};

}  // namespace

static_assert(std::endian::native == std::endian::little);

void Virtqueue::set_size(uint32_t size) noexcept {
    if (!ready_) layout_.size = size;
}
void Virtqueue::set_descriptors(uint64_t address) noexcept {
    if (!ready_) layout_.descriptors = address;
}
void Virtqueue::set_available(uint64_t address) noexcept {
    if (!ready_) layout_.available = address;
}
void Virtqueue::set_used(uint64_t address) noexcept {
    if (!ready_) layout_.used = address;
}

bool Virtqueue::map_rings() noexcept {
    const uint64_t size = layout_.size;
    if (size == 0 || size > max_size_ || !std::has_single_bit(size)) return false;
    if (layout_.descriptors % 16 != 0 || layout_.available % 2 != 0 || layout_.used % 4 != 0) return false;
    auto table = memory_->at(layout_.descriptors, size * kDescriptorBytes);
    auto available = memory_->at(layout_.available, kRingHeader + size * 2 + 2);
    auto used = memory_->at(layout_.used, kRingHeader + size * kUsedEntryBytes + 2);
    if (!table || !available || !used) return false;
    descriptor_table_ = *table;
    available_ring_ = *available;
    used_ring_ = *used;
    return true;
}

void Virtqueue::enable(uint64_t features) noexcept {
    if (ready_ || broken_) return;
    progress_ = {};
    progress_.features = features;
    if (map_rings()) {
        ready_ = true;
    } else {
        broken_ = true;
    }
}

void Virtqueue::reset() noexcept {
    layout_ = {};
    progress_ = {};
    ready_ = broken_ = false;
    descriptor_table_ = available_ring_ = used_ring_ = {};
}

// The rings' alignment was checked when they were mapped, and host memory is page-aligned where the guest's
// is.
uint16_t Virtqueue::load16(const std::byte* at) const noexcept {
    return __atomic_load_n(reinterpret_cast<const uint16_t*>(at), __ATOMIC_ACQUIRE);
}

void Virtqueue::store16(std::byte* at, uint16_t value) noexcept {
    __atomic_store_n(reinterpret_cast<uint16_t*>(at), value, __ATOMIC_RELEASE);
}

bool Virtqueue::has_available() const noexcept {
    return ready_ && !broken_ && load16(&available_ring_[kIndexAt]) != progress_.next_available;
}

bool Virtqueue::pop(DescriptorChain& chain) {
    if (!ready_ || broken_) return false;
    const uint16_t index = load16(&available_ring_[kIndexAt]);
    const uint16_t waiting = static_cast<uint16_t>(index - progress_.next_available);
    if (waiting == 0) return false;
    const uint16_t slot = static_cast<uint16_t>(progress_.next_available & (layout_.size - 1));
    const uint16_t head = load16(&available_ring_[kRingHeader + slot * 2u]);
    if (waiting > layout_.size || head >= layout_.size) {
        broken_ = true;
        return false;
    }
    ++progress_.next_available;
    if (!collect(head, chain)) {
        push(head, 0);
        broken_ = true;
        return false;
    }
    return true;
}

bool Virtqueue::Round::pop(DescriptorChain& chain) {
    if (left_ == 0) {
        if (queue_->has_available()) queue_->broken_ = true;
        return false;
    }
    --left_;
    return queue_->pop(chain);
}

bool Virtqueue::collect(uint16_t head, DescriptorChain& chain) {
    chain.head = head;
    chain.readable.clear();
    chain.writable.clear();
    chain.readable_bytes = chain.writable_bytes = 0;

    std::span<std::byte> table = descriptor_table_;
    uint32_t entries = layout_.size, steps_left = layout_.size, at = head;
    bool indirect = false;
    for (;;) {
        if (steps_left-- == 0) return false;  // longer than the table: a loop
        Descriptor descriptor;
        std::memcpy(&descriptor, &table[at * kDescriptorBytes], sizeof descriptor);
        if (descriptor.flags & kIndirect) {
            if (indirect || !(progress_.features & kVirtioRingIndirect) || (descriptor.flags & kNext) ||
                descriptor.length == 0 || descriptor.length % kDescriptorBytes != 0 ||
                descriptor.length / kDescriptorBytes > kMaxChain)
                return false;
            auto indirect_table = memory_->at(descriptor.address, descriptor.length);
            if (!indirect_table) return false;
            table = *indirect_table;
            entries = steps_left = static_cast<uint32_t>(descriptor.length / kDescriptorBytes);
            at = 0;
            indirect = true;
            continue;
        }
        if (!add_buffer(descriptor, chain)) return false;
        if (!(descriptor.flags & kNext)) return true;
        at = descriptor.next;
        if (at >= entries) return false;
    }
}

bool Virtqueue::add_buffer(const Descriptor& descriptor, DescriptorChain& chain) {
    const bool write = (descriptor.flags & kWrite) != 0;
    if (!write && !chain.writable.empty()) return false;
    auto bytes = memory_->at(descriptor.address, descriptor.length);
    if (!bytes) return false;
    if (bytes->empty()) return true;
    auto& list = write ? chain.writable : chain.readable;
    (write ? chain.writable_bytes : chain.readable_bytes) += bytes->size();
    if (!list.empty() &&
        static_cast<std::byte*>(list.back().iov_base) + list.back().iov_len == bytes->data()) {
        list.back().iov_len += bytes->size();
    } else {
        list.push_back({bytes->data(), bytes->size()});
    }
    return true;
}

void Virtqueue::push(uint16_t head, uint32_t written) noexcept {
    if (!ready_) return;
    const uint32_t slot = progress_.next_used & (layout_.size - 1);
    UsedEntry entry;
    entry.id = head;
    entry.length = written;
    std::memcpy(&used_ring_[kRingHeader + slot * kUsedEntryBytes], &entry, sizeof entry);
    store16(&used_ring_[kIndexAt], ++progress_.next_used);
}

bool Virtqueue::should_interrupt() noexcept {
    if (!ready_) return false;
    const uint16_t now = progress_.next_used, before = progress_.signalled;
    const bool first = !progress_.signalled_is_valid;
    if (!first && now == before) return false;
    if (first && now == 0) return false;
    progress_.signalled = now;
    progress_.signalled_is_valid = 1;
    // The driver writes what it wants and then looks at the used index; we the other way round.
    std::atomic_thread_fence(std::memory_order_seq_cst);
    if (!event_index()) return !(load16(&available_ring_[0]) & kNoInterrupt);
    if (first) return true;
    const uint16_t event = load16(&available_ring_[kRingHeader + layout_.size * 2]);
    return static_cast<uint16_t>(now - event - 1) < static_cast<uint16_t>(now - before);
}

void Virtqueue::want_notifications(bool want) noexcept {
    if (!ready_ || broken_) return;
    if (event_index()) {
        // Without the wish the event stays behind: the driver passes it once in 65536 chains at the most.
        if (want) {
            store16(&used_ring_[kRingHeader + layout_.size * kUsedEntryBytes], progress_.next_available);
        }
    } else {
        store16(&used_ring_[0], want ? 0 : kNoNotify);
    }
    if (want) std::atomic_thread_fence(std::memory_order_seq_cst);
}

void Virtqueue::save(StateWriter& out) const {
    out.put(layout_.descriptors);
    out.put(layout_.available);
    out.put(layout_.used);
    out.put(layout_.size);
    out.put(uint8_t{ready_});
    out.put(uint8_t{broken_});
    out.put(progress_.features);
    out.put(progress_.next_available);
    out.put(progress_.next_used);
    out.put(progress_.signalled);
    out.put(progress_.signalled_is_valid);
}

void Virtqueue::load(StateReader& in) {
    reset();
    layout_.descriptors = in.get<uint64_t>();
    layout_.available = in.get<uint64_t>();
    layout_.used = in.get<uint64_t>();
    layout_.size = in.get<uint32_t>();
    const bool ready = in.get_bool();
    broken_ = in.get_bool();
    progress_.features = in.get<uint64_t>();
    progress_.next_available = in.get<uint16_t>();
    progress_.next_used = in.get<uint16_t>();
    progress_.signalled = in.get<uint16_t>();
    progress_.signalled_is_valid = in.get_bool();
    if (ready) StateReader::require(map_rings());
    ready_ = ready;
}

}  // namespace inspect
