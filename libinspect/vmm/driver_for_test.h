// SPDX-License-Identifier: LGPL-2.1-or-later
//
// For tests and fuzzers: the driver's side of a virtio device in a guest's memory of one MiB, well-behaved
// unless told otherwise.
#pragma once

#include <cstring>
#include <memory>
#include <vector>

#include "vmm/guest_memory.h"
#include "vmm/interrupt_lines.h"
#include "vmm/virtio_mmio.h"

namespace inspect {

// A queue of kSize entries whose rings are at fixed places, from the driver's side.
class DriverQueue {
  public:
    static constexpr uint16_t kNext = 1, kWrite = 2, kIndirect = 4;
    struct Descriptor {
        uint64_t address;
        uint32_t length;
        uint16_t flags;
        uint16_t next;
    };
    struct Used {
        uint32_t id;
        uint32_t length;
    };

    DriverQueue(const GuestMemory& memory, uint64_t base, uint16_t size)
        : memory_(&memory), base_(base), size_(size) {}

    uint16_t size() const { return size_; }
    uint64_t descriptors() const { return base_; }
    uint64_t available() const { return base_ + size_ * 16u; }
    uint64_t used() const { return (available() + 4 + size_ * 2u + 2 + 3) & ~uint64_t{3}; }

    void describe(uint16_t index, const Descriptor& d) { memory_->write(descriptors() + index * 16u, d); }
    // Writes a chain into consecutive descriptors from `first` on; flags get kNext where one follows.
    void describe_chain(uint16_t first, std::vector<Descriptor> chain) {
        for (size_t i = 0; i < chain.size(); ++i) {
            if (i + 1 < chain.size()) {
                chain[i].flags |= kNext;
                chain[i].next = static_cast<uint16_t>(first + i + 1);
            }
            describe(static_cast<uint16_t>(first + i), chain[i]);
        }
    }
    void offer(uint16_t head) {
        memory_->write(available() + 4 + (next_ % size_) * 2u, head);
        set_available_index(++next_);
    }
    void set_available_index(uint16_t index) { memory_->write(available() + 2, index); }
    void set_available_flags(uint16_t flags) { memory_->write(available(), flags); }
    void set_used_event(uint16_t index) { memory_->write(available() + 4 + size_ * 2u, index); }
    uint16_t available_event() const { return *memory_->read<uint16_t>(used() + 4 + size_ * 8u); }
    uint16_t used_flags() const { return *memory_->read<uint16_t>(used()); }
    uint16_t used_index() const { return *memory_->read<uint16_t>(used() + 2); }
    Used used_entry(uint16_t index) const { return *memory_->read<Used>(used() + 4 + (index % size_) * 8u); }

  private:
    const GuestMemory* memory_;
    uint64_t base_;
    uint16_t size_;
    uint16_t next_ = 0;
};

// A device in its transport, with interrupts recorded.
class DriverHarness {
  public:
    static constexpr uint64_t kMemory = 1u << 20;
    static constexpr uint64_t kQueueArea = 0x10000, kQueueStride = 0x4000;
    static constexpr uint64_t kData = 0x80000;  // free for buffers up to the end of memory
    static constexpr unsigned kLine = 5;

    DriverHarness()
        : memory(Mapping::anonymous(kMemory, "test memory")),
          lines([this](unsigned, bool up) { line_up = up; }),
          transport(lines, kLine) {}

    uint32_t read(uint32_t offset) {
        uint32_t value = 0;
        transport.read(offset, std::as_writable_bytes(std::span(&value, 1)));
        return value;
    }
    void write(uint32_t offset, uint32_t value) {
        transport.write(offset, std::as_bytes(std::span(&value, 1)));
    }

    // The driver's sequence of section 3.1.1 up to FEATURES_OK.
    void negotiate(uint64_t features) {
        write(MmioTransport::kStatus, 0);
        write(MmioTransport::kStatus, 1);
        write(MmioTransport::kStatus, 1 | 2);
        write(MmioTransport::kDriverFeaturesSel, 0);
        write(MmioTransport::kDriverFeatures, static_cast<uint32_t>(features));
        write(MmioTransport::kDriverFeaturesSel, 1);
        write(MmioTransport::kDriverFeatures, static_cast<uint32_t>(features >> 32));
        write(MmioTransport::kStatus, 1 | 2 | 8);
    }
    DriverQueue set_up_queue(uint32_t index, uint16_t size) {
        DriverQueue queue(memory, kQueueArea + index * kQueueStride, size);
        write(MmioTransport::kQueueSel, index);
        write(MmioTransport::kQueueNum, size);
        write(MmioTransport::kQueueDescLow, static_cast<uint32_t>(queue.descriptors()));
        write(MmioTransport::kQueueDescHigh, 0);
        write(MmioTransport::kQueueDriverLow, static_cast<uint32_t>(queue.available()));
        write(MmioTransport::kQueueDriverHigh, 0);
        write(MmioTransport::kQueueDeviceLow, static_cast<uint32_t>(queue.used()));
        write(MmioTransport::kQueueDeviceHigh, 0);
        write(MmioTransport::kQueueReady, 1);
        return queue;
    }
    void drive() { write(MmioTransport::kStatus, 1 | 2 | 8 | 4); }
    void notify(uint32_t queue) { write(MmioTransport::kQueueNotify, queue); }
    // What the driver's interrupt handler does.
    uint32_t take_interrupt() {
        const uint32_t status = read(MmioTransport::kInterruptStatus);
        write(MmioTransport::kInterruptAck, status);
        return status;
    }

    std::span<std::byte> bytes(uint64_t address, uint64_t length) { return *memory.at(address, length); }

    GuestMemory memory;
    InterruptLines lines;
    MmioTransport transport;
    bool line_up = false;
};

}  // namespace inspect
