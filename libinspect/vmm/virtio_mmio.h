// SPDX-License-Identifier: LGPL-2.1-or-later
//
// MmioTransport: one page of virtio-mmio registers, version 2 (virtio 1.2, section 4.2), for one device, or
// for a slot that may get one later (until then its DeviceID is 0, the specification's placeholder).
//
// The driver's status follows section 2.1 and 3.1.1: bits come in order and are only taken away by a reset; a
// write that does otherwise is ignored. FEATURES_OK stays clear unless the accepted features are a subset of
// the offered ones with VIRTIO_F_VERSION_1 among them. Queues are set up between FEATURES_OK and DRIVER_OK.
//
// Thread-safe: accesses are done under mutex(). That is what the console's I/O thread takes, too.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>

#include "vmm/interrupt_lines.h"
#include "vmm/virtio_device.h"

namespace inspect {

class MmioTransport final : private VirtioInterrupts {
  public:
    // Registers, as offsets in the page.
    enum Register : uint32_t {
        kMagicValue = 0x00,
        kVersion = 0x04,
        kDeviceId = 0x08,
        kVendorId = 0x0c,
        kDeviceFeatures = 0x10,
        kDeviceFeaturesSel = 0x14,
        kDriverFeatures = 0x20,
        kDriverFeaturesSel = 0x24,
        kQueueSel = 0x30,
        kQueueNumMax = 0x34,
        kQueueNum = 0x38,
        kQueueReady = 0x44,
        kQueueNotify = 0x50,
        kInterruptStatus = 0x60,
        kInterruptAck = 0x64,
        kStatus = 0x70,
        kQueueDescLow = 0x80,
        kQueueDescHigh = 0x84,
        kQueueDriverLow = 0x90,
        kQueueDriverHigh = 0x94,
        kQueueDeviceLow = 0xa0,
        kQueueDeviceHigh = 0xa4,
        kShmSel = 0xac,
        kShmLenLow = 0xb0,
        kShmBaseHigh = 0xbc,
        kConfigGeneration = 0xfc,
        kConfig = 0x100,
    };
    enum StatusBit : uint32_t {
        kAcknowledge = 1,
        kDriver = 2,
        kDriverOk = 4,
        kFeaturesOk = 8,
        kNeedsReset = 64,
        kFailed = 128,
    };
    static constexpr uint32_t kMagic = 0x74726976;  // "virt"
    static constexpr uint32_t kUsedBufferInterrupt = 1, kConfigInterrupt = 2;

    // An empty slot. `lines` must outlive this.
    MmioTransport(InterruptLines& lines, unsigned line) : lines_(lines), line_(line) {}

    // The device appears. To be called once.
    void attach(std::unique_ptr<VirtioDevice> device);
    VirtioDevice* device() noexcept { return device_.get(); }
    std::mutex& mutex() noexcept { return mutex_; }

    // An access of the guest at an offset in the page. Registers are 32 bits wide and nothing else is
    // answered; the configuration space takes any width.
    void read(uint64_t offset, std::span<std::byte> out);
    void write(uint64_t offset, std::span<const std::byte> in);

    // A snapshot's part, with mutex() held by the caller. load() after attach(); throws Error(kCorrupt). The
    // interrupt line is raised again where it was up, so the controllers must have been restored before.
    void save(StateWriter& out) const;
    void load(StateReader& in);

  private:
    void used_buffers() override { interrupt(kUsedBufferInterrupt); }
    void needs_reset() override;

    uint32_t read_register(uint32_t offset);
    void write_register(uint32_t offset, uint32_t value, std::unique_lock<std::mutex>& lock);
    void write_status(uint32_t value);
    void write_queue(uint32_t offset, uint32_t value);
    void reset();
    void interrupt(uint32_t bits);
    void set_line();
    uint64_t offered() const noexcept { return device_->features() | kVirtioVersion1; }
    Virtqueue* selected() noexcept;

    InterruptLines& lines_;
    const unsigned line_;
    std::mutex mutex_;
    std::unique_ptr<VirtioDevice> device_;

    struct State {
        uint64_t driver_features = 0;
        uint32_t device_features_sel = 0;
        uint32_t driver_features_sel = 0;
        uint32_t queue_sel = 0;
        uint32_t status = 0;
        uint32_t interrupt_status = 0;
    } state_;
    bool line_is_up_ = false;
};

}  // namespace inspect
