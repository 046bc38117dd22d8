// SPDX-License-Identifier: LGPL-2.1-or-later
#include "vmm/virtio_mmio.h"

#include <algorithm>
#include <cstring>

#include "base/checked.h"

namespace inspect {

namespace {

constexpr uint32_t kTransportVersion = 2;
constexpr uint32_t kVendor = 0x50534e49;  // "INSP"

constexpr uint64_t with_low(uint64_t value, uint32_t low) { return (value & ~uint64_t{0xffffffff}) | low; }
constexpr uint64_t with_high(uint64_t value, uint32_t high) {
    return (value & 0xffffffff) | uint64_t{high} << 32;
}

}  // namespace

void MmioTransport::attach(std::unique_ptr<VirtioDevice> device) {
    std::lock_guard lock(mutex_);
    device_ = std::move(device);
    device_->connect(*this);
    state_ = {};
}

Virtqueue* MmioTransport::selected() noexcept {
    auto queues = device_->queues();
    return state_.queue_sel < queues.size() ? &queues[state_.queue_sel] : nullptr;
}

void MmioTransport::read(uint64_t offset, std::span<std::byte> out) {
    std::lock_guard lock(mutex_);
    std::ranges::fill(out, std::byte{0});
    if (offset >= kConfig) {
        if (!device_) return;
        auto config = device_->config();
        offset -= kConfig;
        if (offset < config.size()) {
            auto part = config.subspan(offset, std::min(out.size(), config.size() - offset));
            std::ranges::copy(part, out.begin());
        }
        return;
    }
    if (out.size() != sizeof(uint32_t) || offset % sizeof(uint32_t) != 0) return;
    const uint32_t value = read_register(static_cast<uint32_t>(offset));
    std::memcpy(out.data(), &value, sizeof value);
}

uint32_t MmioTransport::read_register(uint32_t offset) {
    switch (offset) {
        case kMagicValue:
            return kMagic;
        case kVersion:
            return kTransportVersion;
        case kVendorId:
            return kVendor;
        default:
            break;
    }
    if (!device_) return 0;  // DeviceID 0 too
    switch (offset) {
        case kDeviceId:
            return device_->type();
        case kDeviceFeatures:
            return state_.device_features_sel == 0   ? static_cast<uint32_t>(offered())
                   : state_.device_features_sel == 1 ? static_cast<uint32_t>(offered() >> 32)
                                                     : 0;
        case kQueueNumMax:
            return selected() ? selected()->max_size() : 0;
        case kQueueReady:
            return selected() && selected()->ready();
        case kInterruptStatus:
            return state_.interrupt_status;
        case kStatus:
            return state_.status;
        default:
            break;
    }
    // There are no shared memory regions: their length and base read as all ones.
    if (offset >= kShmLenLow && offset <= kShmBaseHigh) return 0xffffffff;
    return 0;  // ConfigGeneration too: the configuration never changes
}

void MmioTransport::write(uint64_t offset, std::span<const std::byte> in) {
    std::unique_lock lock(mutex_);
    if (!device_ || offset >= kConfig) return;  // no device here has a writable configuration
    uint32_t value;
    if (in.size() != sizeof value || offset % sizeof value != 0) return;
    std::memcpy(&value, in.data(), sizeof value);
    write_register(static_cast<uint32_t>(offset), value, lock);
}

void MmioTransport::write_register(uint32_t offset, uint32_t value, std::unique_lock<std::mutex>& lock) {
    switch (offset) {
        case kDeviceFeaturesSel:
            state_.device_features_sel = value;
            break;
        case kDriverFeaturesSel:
            state_.driver_features_sel = value;
            break;
        case kDriverFeatures:
            if (!(state_.status & kDriver) || (state_.status & kFeaturesOk)) break;
            if (state_.driver_features_sel == 0)
                state_.driver_features = with_low(state_.driver_features, value);
            else if (state_.driver_features_sel == 1)
                state_.driver_features = with_high(state_.driver_features, value);
            else if (value != 0)
                state_.status |= kFailed;  // features that nobody offered
            break;
        case kQueueSel:
            state_.queue_sel = value;
            break;
        case kQueueNotify:
            if ((state_.status & (kDriverOk | kNeedsReset | kFailed)) == kDriverOk &&
                value < device_->queues().size() && device_->queues()[value].ready())
                device_->notify(value, lock);
            break;
        case kInterruptAck:
            state_.interrupt_status &= ~value;
            set_line();
            break;
        case kStatus:
            write_status(value);
            break;
        default:
            write_queue(offset, value);
            break;
    }
}

void MmioTransport::write_status(uint32_t value) {
    if (value == 0) {
        reset();
        return;
    }
    constexpr uint32_t kDriversBits = kAcknowledge | kDriver | kDriverOk | kFeaturesOk | kFailed;
    const uint32_t had = state_.status & kDriversBits;
    const uint32_t now = value & kDriversBits;
    if ((had & ~now) != 0) return;  // only a reset takes bits away
    const bool in_order = (!(now & kDriver) || (now & kAcknowledge)) &&
                          (!(now & kFeaturesOk) || (now & kDriver)) &&
                          (!(now & kDriverOk) || (had & kFeaturesOk));
    if (!in_order) return;
    uint32_t gained = now & ~had;
    if (gained & kFeaturesOk) {
        const bool acceptable =
            (state_.driver_features & ~offered()) == 0 && (state_.driver_features & kVirtioVersion1) != 0;
        if (!acceptable) gained &= ~uint32_t{kFeaturesOk};
    }
    state_.status |= gained;
    if (gained & kDriverOk) device_->activate(state_.driver_features);
}

void MmioTransport::write_queue(uint32_t offset, uint32_t value) {
    Virtqueue* queue = selected();
    if (!queue || !(state_.status & kFeaturesOk)) return;
    if (offset == kQueueReady && value == 0) {
        queue->reset();
        return;
    }
    // A driver may prepare its queues late, but not change them when they are in use: the queue sees to that.
    switch (offset) {
        case kQueueNum:
            queue->set_size(value);
            break;
        case kQueueDescLow:
            queue->set_descriptors(with_low(queue->descriptors(), value));
            break;
        case kQueueDescHigh:
            queue->set_descriptors(with_high(queue->descriptors(), value));
            break;
        case kQueueDriverLow:
            queue->set_available(with_low(queue->available(), value));
            break;
        case kQueueDriverHigh:
            queue->set_available(with_high(queue->available(), value));
            break;
        case kQueueDeviceLow:
            queue->set_used(with_low(queue->used(), value));
            break;
        case kQueueDeviceHigh:
            queue->set_used(with_high(queue->used(), value));
            break;
        case kQueueReady:
            if (value != 1) break;
            queue->enable(state_.driver_features);
            if (queue->broken()) needs_reset();
            break;
        default:
            break;
    }
}

void MmioTransport::reset() {
    for (Virtqueue& queue : device_->queues()) queue.reset();
    device_->reset();
    state_ = {};
    set_line();
}

void MmioTransport::needs_reset() {
    if (state_.status & kNeedsReset) return;
    state_.status |= kNeedsReset;
    // Before DRIVER_OK the driver is not to be notified (section 2.1.2).
    if (state_.status & kDriverOk) interrupt(kConfigInterrupt);
}

void MmioTransport::interrupt(uint32_t bits) {
    state_.interrupt_status |= bits;
    set_line();
}

void MmioTransport::set_line() {
    const bool up = state_.interrupt_status != 0;
    if (up == line_is_up_) return;
    line_is_up_ = up;
    lines_.change(line_, up);
}

void MmioTransport::save(StateWriter& out) const {
    out.put(uint8_t{device_ != nullptr});
    if (!device_) return;
    out.put(device_->type());
    out.put(state_.driver_features);
    out.put(state_.device_features_sel);
    out.put(state_.driver_features_sel);
    out.put(state_.queue_sel);
    out.put(state_.status);
    out.put(state_.interrupt_status);
    for (const Virtqueue& queue : device_->queues()) queue.save(out);
    device_->save(out);
}

void MmioTransport::load(StateReader& in) {
    const bool had_device = in.get_bool();
    if (!had_device) return;  // a slot that was empty then may have a device now
    StateReader::require(device_ != nullptr && in.get<uint32_t>() == device_->type());
    state_.driver_features = in.get<uint64_t>();
    state_.device_features_sel = in.get<uint32_t>();
    state_.driver_features_sel = in.get<uint32_t>();
    state_.queue_sel = in.get<uint32_t>();
    state_.status = in.get<uint32_t>();
    state_.interrupt_status = in.get<uint32_t>();
    StateReader::require((state_.driver_features & ~offered()) == 0);
    for (Virtqueue& queue : device_->queues()) queue.load(in);
    device_->load(in);
    set_line();
}

}  // namespace inspect
