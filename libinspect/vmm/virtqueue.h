// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Virtqueue: the device's side of a split virtqueue (virtio 1.2, section 2.7), with indirect descriptors and
// event indices.
//
// Everything in it was written by the guest. What breaks the rules of the ring breaks the queue: pop()
// completes the chain, if there is one to complete, and answers nothing more until the driver resets the
// device. Broken are: an available index more than the queue's size ahead; a head or `next` out of range; a
// chain longer than the queue (which any loop is), or than kMaxChain in an indirect table; a table that is
// nested, empty, not a multiple of 16 bytes or not in memory; a buffer that is not in memory; a readable
// buffer after a writable one.
//
// Not thread-safe. The guest may run meanwhile.
#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "vmm/guest_memory.h"
#include "vmm/state_stream.h"

namespace inspect {

// Feature bits that concern the ring.
inline constexpr uint64_t kVirtioRingIndirect = uint64_t{1} << 28;
inline constexpr uint64_t kVirtioRingEventIndex = uint64_t{1} << 29;
inline constexpr uint64_t kVirtioVersion1 = uint64_t{1} << 32;

// One request: what the device may read, then what it may write, as pieces of host memory. Neighbouring
// buffers are merged, so the pieces are not the guest's descriptors.
struct DescriptorChain {
    uint16_t head = 0;
    std::vector<iovec> readable;
    std::vector<iovec> writable;
    uint64_t readable_bytes = 0;
    uint64_t writable_bytes = 0;
};

class Virtqueue {
  public:
    static constexpr uint16_t kMaxSize = 32768;  // of any queue
    static constexpr uint32_t kMaxChain = 1024;  // descriptors in an indirect table

    // `max_size` is a power of two up to kMaxSize. `memory` must outlive this.
    Virtqueue(const GuestMemory& memory, uint16_t max_size) : memory_(&memory), max_size_(max_size) {}

    // The transport's part. The setters have no effect once the queue is ready.
    uint16_t max_size() const noexcept { return max_size_; }
    void set_size(uint32_t size) noexcept;
    void set_descriptors(uint64_t address) noexcept;
    void set_available(uint64_t address) noexcept;
    void set_used(uint64_t address) noexcept;
    uint64_t descriptors() const noexcept { return layout_.descriptors; }
    uint64_t available() const noexcept { return layout_.available; }
    uint64_t used() const noexcept { return layout_.used; }
    // Checks size, alignment and place of the rings. When they are wrong the queue is broken, not ready.
    void enable(uint64_t features) noexcept;
    void reset() noexcept;

    bool ready() const noexcept { return ready_; }
    bool broken() const noexcept { return broken_; }

    // The device's part. Takes the next chain into `chain`; false when there is none or the queue is broken
    // or not ready. Each chain that was taken must be given back by push().
    bool pop(DescriptorChain& chain);
    // The chains of one notification. The only vCPU waits while its notification is served, so no more can
    // come than the queue holds. What seems to be more is the device's own writing, into a used ring or
    // buffer that lies on the available ring, and would never end: it breaks the queue.
    class Round {
      public:
        explicit Round(Virtqueue& queue) noexcept : queue_(&queue), left_(queue.layout_.size) {}
        bool pop(DescriptorChain& chain);

      private:
        Virtqueue* queue_;
        uint32_t left_;
    };
    // Undoes the pop() just done, as if the chain had not been taken.
    void unpop() noexcept { --progress_.next_available; }
    // `written`: how many bytes of the chain's writable part were written, from its start.
    void push(uint16_t head, uint32_t written) noexcept;
    // Something was pushed since the last call and the driver wants to know.
    bool should_interrupt() noexcept;
    // Asks the driver to notify of new chains (or says that it needn't). After enabling them the caller must
    // try pop() once more, because a chain may have come just before.
    void want_notifications(bool want) noexcept;
    bool has_available() const noexcept;

    // A snapshot's part. load() throws Error(kCorrupt) for what no queue of this device can be.
    void save(StateWriter& out) const;
    void load(StateReader& in);

  private:
    struct Descriptor {
        uint64_t address;
        uint32_t length;
        uint16_t flags;
        uint16_t next;
    };
    struct Layout {
        uint64_t descriptors = 0;
        uint64_t available = 0;
        uint64_t used = 0;
        uint32_t size = 0;
    };
    // What a snapshot keeps beside the layout.
    struct Progress {
        uint64_t features = 0;
        uint16_t next_available = 0;  // the next entry of the available ring to take
        uint16_t next_used = 0;       // the next entry of the used ring to fill
        uint16_t signalled = 0;       // next_used at the last look at whether to interrupt
        uint8_t signalled_is_valid = 0;
    };

    bool map_rings() noexcept;
    bool collect(uint16_t head, DescriptorChain& chain);
    bool add_buffer(const Descriptor& descriptor, DescriptorChain& chain);
    uint16_t load16(const std::byte* at) const noexcept;
    void store16(std::byte* at, uint16_t value) noexcept;
    bool event_index() const noexcept { return (progress_.features & kVirtioRingEventIndex) != 0; }

    const GuestMemory* memory_;
    uint16_t max_size_;
    Layout layout_;
    Progress progress_;
    bool ready_ = false;
    bool broken_ = false;
    // The rings in host memory, when ready.
    std::span<std::byte> descriptor_table_;
    std::span<std::byte> available_ring_;
    std::span<std::byte> used_ring_;
};

}  // namespace inspect
