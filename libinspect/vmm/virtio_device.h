// SPDX-License-Identifier: LGPL-2.1-or-later
//
// VirtioDevice: what a device model is to the transport (virtio_mmio.h), and the other way round.
//
// The transport owns the negotiation, the status and the registers; the device owns its queues' contents and
// its configuration space. All calls are made with the transport's mutex held.
#pragma once

#include <cstdint>
#include <mutex>
#include <span>
#include <vector>

#include "vmm/state_stream.h"
#include "vmm/virtqueue.h"

namespace inspect {

// What a device asks of its transport; the transport's mutex must be held.
class VirtioInterrupts {
  public:
    virtual ~VirtioInterrupts() = default;
    // A used buffer notification, after should_interrupt() of a queue said so.
    virtual void used_buffers() = 0;
    // The driver broke the rules: DEVICE_NEEDS_RESET and a configuration change notification.
    virtual void needs_reset() = 0;
};

class VirtioDevice {
  public:
    // Device types (virtio 1.2, section 5).
    static constexpr uint32_t kBlock = 2, kConsole = 3, kPmem = 27;

    virtual ~VirtioDevice() = default;
    VirtioDevice(const VirtioDevice&) = delete;
    VirtioDevice& operator=(const VirtioDevice&) = delete;

    uint32_t type() const noexcept { return type_; }
    // What is offered, without VIRTIO_F_VERSION_1, which the transport adds.
    uint64_t features() const noexcept { return features_; }
    std::span<Virtqueue> queues() noexcept { return queues_; }
    std::span<const std::byte> config() const noexcept { return config_; }

    void connect(VirtioInterrupts& interrupts) noexcept { interrupts_ = &interrupts; }

    // The driver set DRIVER_OK, having accepted these features.
    virtual void activate(uint64_t accepted_features) { accepted_ = accepted_features; }
    // The driver reset the device; the queues are reset by the transport.
    virtual void reset() { accepted_ = 0; }
    // The driver says that a queue has new chains; only when the device is live and the queue ready. A device
    // that must wait for something outside unlocks `lock` for that time.
    virtual void notify(unsigned queue, std::unique_lock<std::mutex>& lock) = 0;

    // What a snapshot keeps beside the queues and the transport.
    virtual void save(StateWriter& out) const { out.put(accepted_); }
    virtual void load(StateReader& in) { accepted_ = in.get<uint64_t>(); }

  protected:
    VirtioDevice(uint32_t type, uint64_t features, const GuestMemory& memory,
                 std::initializer_list<uint16_t> queue_sizes)
        : type_(type), features_(features) {
        for (uint16_t size : queue_sizes) queues_.emplace_back(memory, size);
    }

    template <typename T>
    void set_config(const T& config) {
        auto bytes = std::as_bytes(std::span(&config, 1));
        config_.assign(bytes.begin(), bytes.end());
    }
    Virtqueue& queue(unsigned index) { return queues_[index]; }
    const Virtqueue& queue(unsigned index) const { return queues_[index]; }
    bool accepted(uint64_t feature) const noexcept { return (accepted_ & feature) != 0; }
    // After work on a queue: interrupts the driver if it wants that, and reports a broken queue.
    void finish(Virtqueue& done) {
        if (done.should_interrupt() && interrupts_) interrupts_->used_buffers();
        if (done.broken() && interrupts_) interrupts_->needs_reset();
    }

  private:
    uint32_t type_;
    uint64_t features_;
    uint64_t accepted_ = 0;
    std::vector<Virtqueue> queues_;
    std::vector<std::byte> config_;
    VirtioInterrupts* interrupts_ = nullptr;
};

}  // namespace inspect
