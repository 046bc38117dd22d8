// SPDX-License-Identifier: LGPL-2.1-or-later
#include "vmm/pio.h"

#include <algorithm>

namespace inspect {

namespace {

constexpr uint16_t kKeyboardStatus = 0x64;  // 0: nothing to read, ready for a command
constexpr uint16_t kKeyboardData = 0x60;
constexpr uint16_t kSystemControl = 0x61;  // the PIT's gate and output
constexpr uint16_t kCmosData = 0x71;       // 0: no update in progress
constexpr uint16_t kResetControl = 0xcf9;
constexpr uint8_t kPulseReset = 0xfe;  // the keyboard controller's command that resets a PC

}  // namespace

void PortIo::in(uint16_t port, std::span<std::byte> data) const noexcept {
    switch (port) {
        case kKeyboardStatus:
        case kKeyboardData:
        case kSystemControl:
        case kCmosData:
            std::ranges::fill(data, std::byte{0});
            break;
        default:  // a bus without a device
            std::ranges::fill(data, std::byte{0xff});
            break;
    }
}

std::optional<GuestEvent> PortIo::out(uint16_t port, std::span<const std::byte> data) noexcept {
    if (data.empty()) return std::nullopt;
    const uint8_t value = std::to_integer<uint8_t>(data[0]);
    switch (port) {
        case kConsolePort: {
            uint64_t at = status_.ring_written.load(std::memory_order_relaxed);
            for (std::byte b : data) status_.ring[at++ % VmmStatus::kRingSize] = std::to_integer<char>(b);
            status_.ring_written.store(at, std::memory_order_release);
            return std::nullopt;
        }
        case kEventPort:
            if (value >= static_cast<uint8_t>(GuestEvent::kPanic) &&
                value <= static_cast<uint8_t>(GuestEvent::kHalt))
                return static_cast<GuestEvent>(value);
            return std::nullopt;
        case kKeyboardStatus:
            if (value == kPulseReset) return GuestEvent::kRestart;
            return std::nullopt;
        case kResetControl:
            if (value & 4) return GuestEvent::kRestart;
            return std::nullopt;
        default:
            return std::nullopt;
    }
}

}  // namespace inspect
