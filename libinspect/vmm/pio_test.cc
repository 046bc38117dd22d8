// SPDX-License-Identifier: LGPL-2.1-or-later
#include "vmm/pio.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>

namespace inspect {
namespace {

class PortIoTest : public testing::Test {
  protected:
    std::optional<GuestEvent> out(uint16_t port, const std::string& data) {
        return ports.out(port, std::as_bytes(std::span(data)));
    }
    unsigned in(uint16_t port) {
        std::byte value{0x55};
        ports.in(port, {&value, 1});
        return std::to_integer<unsigned>(value);
    }
    std::unique_ptr<VmmStatus> status = std::make_unique<VmmStatus>();
    PortIo ports{*status};
};

TEST_F(PortIoTest, KeepsTheTailOfTheLog) {
    EXPECT_FALSE(out(kConsolePort, "hello\n"));
    EXPECT_EQ(std::string(status->ring, 6), "hello\n");
    const std::string line(1000, 'x');
    for (int i = 0; i < 100; ++i) out(kConsolePort, line);
    out(kConsolePort, "end");
    const uint64_t written = status->ring_written;
    EXPECT_EQ(written, 6u + 100000 + 3);
    EXPECT_EQ(status->ring[(written - 1) % VmmStatus::kRingSize], 'd');
    EXPECT_EQ(status->ring[(written - 4) % VmmStatus::kRingSize], 'x');
}

TEST_F(PortIoTest, TellsEvents) {
    EXPECT_EQ(out(kEventPort, "\1"), GuestEvent::kPanic);
    EXPECT_EQ(out(kEventPort, "\3"), GuestEvent::kHalt);
    EXPECT_FALSE(out(kEventPort, "\4"));
    EXPECT_FALSE(out(kEventPort, std::string(1, '\0')));
    EXPECT_FALSE(out(kEventPort, ""));
    EXPECT_EQ(out(0x64, "\xfe"), GuestEvent::kRestart);
    EXPECT_FALSE(out(0x64, "\xd1"));
    EXPECT_EQ(out(0xcf9, "\x06"), GuestEvent::kRestart);
}

TEST_F(PortIoTest, NobodyWaitsForADevice) {
    EXPECT_EQ(in(0x64), 0u);      // a keyboard controller that is ready, or Linux polls it 65537 times
    EXPECT_EQ(in(0x3fd), 0xffu);  // no serial port
    EXPECT_EQ(in(0x71) & 0x80, 0u);
    EXPECT_EQ(in(0xcfc), 0xffu);  // no PCI
}

}  // namespace
}  // namespace inspect
