// SPDX-License-Identifier: LGPL-2.1-or-later
#include "vmm/virtio_mmio.h"

#include <gtest/gtest.h>

#include <inspect/error.h>

#include "vmm/driver_for_test.h"

namespace inspect {
namespace {

constexpr uint64_t kFeature = 1u << 3;
constexpr uint32_t kAck = 1, kDriver = 2, kDriverOk = 4, kFeaturesOk = 8, kNeedsReset = 64, kFailed = 128;

// Completes each chain and remembers what happened to it.
class FakeDevice final : public VirtioDevice {
  public:
    explicit FakeDevice(const GuestMemory& memory)
        : VirtioDevice(42, kFeature | kVirtioRingIndirect, memory, {16, 16}) {
        set_config(std::array<uint8_t, 6>{1, 2, 3, 4, 5, 6});
    }
    void activate(uint64_t features) override {
        VirtioDevice::activate(features);
        ++activations;
        accepted_features = features;
    }
    void reset() override {
        VirtioDevice::reset();
        ++resets;
    }
    void notify(unsigned index, std::unique_lock<std::mutex>& lock) override {
        EXPECT_TRUE(lock.owns_lock());
        ++notifications;
        DescriptorChain chain;
        while (queue(index).pop(chain)) queue(index).push(chain.head, 0);
        finish(queue(index));
    }
    int activations = 0, resets = 0, notifications = 0;
    uint64_t accepted_features = 0;
};

class MmioTest : public testing::Test {
  protected:
    MmioTest() {
        auto owned = std::make_unique<FakeDevice>(h.memory);
        device = owned.get();
        h.transport.attach(std::move(owned));
    }
    uint32_t status() { return h.read(MmioTransport::kStatus); }
    void set_status(uint32_t value) { h.write(MmioTransport::kStatus, value); }

    DriverHarness h;
    FakeDevice* device;
};

TEST(MmioEmptySlot, IsAPlaceholder) {
    DriverHarness h;
    EXPECT_EQ(h.read(MmioTransport::kMagicValue), 0x74726976u);
    EXPECT_EQ(h.read(MmioTransport::kVersion), 2u);
    EXPECT_EQ(h.read(MmioTransport::kDeviceId), 0u);
    for (uint32_t offset = 0; offset < 0x200; offset += 4) h.write(offset, 0xffffffff);
    EXPECT_EQ(h.read(MmioTransport::kStatus), 0u);
    EXPECT_EQ(h.read(MmioTransport::kQueueNumMax), 0u);
    EXPECT_EQ(h.read(0x100), 0u);
}

TEST_F(MmioTest, IdentifiesTheDevice) {
    EXPECT_EQ(h.read(MmioTransport::kDeviceId), 42u);
    h.write(MmioTransport::kDeviceFeaturesSel, 0);
    EXPECT_EQ(h.read(MmioTransport::kDeviceFeatures), kFeature | kVirtioRingIndirect);
    h.write(MmioTransport::kDeviceFeaturesSel, 1);
    EXPECT_EQ(h.read(MmioTransport::kDeviceFeatures), 1u);  // VERSION_1
    h.write(MmioTransport::kDeviceFeaturesSel, 2);
    EXPECT_EQ(h.read(MmioTransport::kDeviceFeatures), 0u);
    EXPECT_EQ(h.read(MmioTransport::kConfigGeneration), 0u);
    h.write(MmioTransport::kShmSel, 0);
    EXPECT_EQ(h.read(MmioTransport::kShmLenLow), 0xffffffffu);
    EXPECT_EQ(h.read(MmioTransport::kShmBaseHigh), 0xffffffffu);
}

TEST_F(MmioTest, ConfigurationIsReadInAnyWidth) {
    uint8_t two[2];
    h.transport.read(0x102, std::as_writable_bytes(std::span(two)));
    EXPECT_EQ(two[0], 3);
    EXPECT_EQ(two[1], 4);
    uint8_t eight[8];
    h.transport.read(0x104, std::as_writable_bytes(std::span(eight)));
    EXPECT_EQ(eight[1], 6);
    EXPECT_EQ(eight[2], 0);  // behind its end
    h.write(0x100, 0xffffffff);
    EXPECT_EQ(h.read(0x100), 0x04030201u);
    EXPECT_EQ(h.read(0xffc), 0u);
}

TEST_F(MmioTest, RegistersAnswerWholeWordsOnly) {
    uint8_t byte = 0x55;
    h.transport.read(0, std::as_writable_bytes(std::span(&byte, 1)));
    EXPECT_EQ(byte, 0);
    uint32_t word = 0x55;
    h.transport.read(2, std::as_writable_bytes(std::span(&word, 1)));
    EXPECT_EQ(word, 0u);
    uint16_t half = 1;
    h.transport.write(MmioTransport::kStatus, std::as_bytes(std::span(&half, 1)));
    EXPECT_EQ(status(), 0u);
}

TEST_F(MmioTest, GoesThroughTheStatesInOrder) {
    set_status(kAck);
    EXPECT_EQ(status(), kAck);
    set_status(kAck | kDriver);
    h.write(MmioTransport::kDriverFeaturesSel, 1);
    h.write(MmioTransport::kDriverFeatures, 1);
    set_status(kAck | kDriver | kFeaturesOk);
    EXPECT_EQ(status(), kAck | kDriver | kFeaturesOk);
    EXPECT_EQ(device->activations, 0);
    set_status(kAck | kDriver | kFeaturesOk | kDriverOk);
    EXPECT_EQ(status(), kAck | kDriver | kFeaturesOk | kDriverOk);
    EXPECT_EQ(device->activations, 1);
    EXPECT_EQ(device->accepted_features, kVirtioVersion1);
    set_status(kAck | kDriver | kFeaturesOk | kDriverOk);
    EXPECT_EQ(device->activations, 1);
    set_status(0);
    EXPECT_EQ(status(), 0u);
    EXPECT_EQ(device->resets, 1);
}

TEST_F(MmioTest, IgnoresIllegalTransitions) {
    set_status(kDriver);  // without ACKNOWLEDGE
    EXPECT_EQ(status(), 0u);
    set_status(kAck | kFeaturesOk);  // without DRIVER
    EXPECT_EQ(status(), 0u);
    set_status(kAck | kDriver | kDriverOk);  // without FEATURES_OK
    EXPECT_EQ(status(), 0u);
    h.negotiate(kVirtioVersion1);
    set_status(kAck);  // takes bits away
    EXPECT_EQ(status(), kAck | kDriver | kFeaturesOk);
    set_status(kAck | kDriver | kFeaturesOk | kFailed);
    EXPECT_EQ(status(), kAck | kDriver | kFeaturesOk | kFailed);
    set_status(kNeedsReset | 0x30);  // not the driver's bits
    EXPECT_EQ(status(), kAck | kDriver | kFeaturesOk | kFailed);
}

TEST_F(MmioTest, FeaturesAndDriverOkAtOnceIsNoNegotiation) {
    set_status(kAck | kDriver);
    set_status(kAck | kDriver | kFeaturesOk | kDriverOk);
    EXPECT_EQ(status(), kAck | kDriver);
    EXPECT_EQ(device->activations, 0);
}

TEST_F(MmioTest, FeaturesOkNeedsVersion1AndNothingUnoffered) {
    h.negotiate(kFeature);
    EXPECT_EQ(status(), kAck | kDriver);
    h.negotiate(kVirtioVersion1 | kVirtioRingEventIndex);
    EXPECT_EQ(status(), kAck | kDriver);
    h.negotiate(kVirtioVersion1 | kFeature);
    EXPECT_EQ(status(), kAck | kDriver | kFeaturesOk);
    // Too late to change one's mind.
    h.write(MmioTransport::kDriverFeatures, 0);
    h.drive();
    EXPECT_EQ(device->accepted_features, kVirtioVersion1 | kFeature);
}

TEST_F(MmioTest, QueuesAreSetUpAfterFeaturesOk) {
    set_status(kAck | kDriver);
    h.set_up_queue(0, 16);
    EXPECT_EQ(h.read(MmioTransport::kQueueReady), 0u);
    h.negotiate(kVirtioVersion1);
    h.set_up_queue(0, 16);
    EXPECT_EQ(h.read(MmioTransport::kQueueReady), 1u);
    EXPECT_EQ(h.read(MmioTransport::kQueueNumMax), 16u);
    h.write(MmioTransport::kQueueReady, 0);
    EXPECT_EQ(h.read(MmioTransport::kQueueReady), 0u);
    h.write(MmioTransport::kQueueSel, 2);  // there is none
    EXPECT_EQ(h.read(MmioTransport::kQueueNumMax), 0u);
    h.write(MmioTransport::kQueueReady, 1);
    EXPECT_EQ(h.read(MmioTransport::kQueueReady), 0u);
    h.write(MmioTransport::kQueueSel, 0xffffffff);
    EXPECT_EQ(h.read(MmioTransport::kQueueNumMax), 0u);
}

TEST_F(MmioTest, NotifiesOnlyALiveDevice) {
    h.notify(0);
    h.negotiate(kVirtioVersion1);
    h.set_up_queue(0, 16);
    h.notify(0);
    EXPECT_EQ(device->notifications, 0);
    h.drive();
    h.notify(1);  // not ready
    h.notify(2);  // not there
    h.notify(0xffffffff);
    EXPECT_EQ(device->notifications, 0);
    h.notify(0);
    EXPECT_EQ(device->notifications, 1);
}

TEST_F(MmioTest, InterruptsUntilAcknowledged) {
    h.negotiate(kVirtioVersion1);
    DriverQueue queue = h.set_up_queue(0, 16);
    h.drive();
    queue.describe_chain(0, {{DriverHarness::kData, 4, 0, 0}});
    queue.offer(0);
    EXPECT_FALSE(h.line_up);
    h.notify(0);
    EXPECT_TRUE(h.line_up);
    EXPECT_EQ(h.read(MmioTransport::kInterruptStatus), 1u);
    h.write(MmioTransport::kInterruptAck, 2);
    EXPECT_TRUE(h.line_up);
    h.write(MmioTransport::kInterruptAck, 1);
    EXPECT_FALSE(h.line_up);
}

TEST_F(MmioTest, ABrokenQueueNeedsAReset) {
    h.negotiate(kVirtioVersion1);
    DriverQueue queue = h.set_up_queue(0, 16);
    h.drive();
    queue.set_available_index(1000);
    h.notify(0);
    EXPECT_EQ(status() & kNeedsReset, kNeedsReset);
    EXPECT_TRUE(h.line_up);
    EXPECT_EQ(h.take_interrupt(), 2u);  // a configuration change
    h.notify(0);
    EXPECT_EQ(device->notifications, 1);  // nothing more is taken
    // And a reset makes it as new.
    h.negotiate(kVirtioVersion1);
    queue = h.set_up_queue(0, 16);
    h.drive();
    queue.set_available_index(0);
    h.notify(0);
    EXPECT_EQ(device->notifications, 2);
    EXPECT_EQ(status() & kNeedsReset, 0u);
}

TEST_F(MmioTest, RingsOutsideMemoryNeedAReset) {
    h.negotiate(kVirtioVersion1);
    h.write(MmioTransport::kQueueSel, 0);
    h.write(MmioTransport::kQueueNum, 16);
    h.write(MmioTransport::kQueueDescHigh, 0xffffffff);
    h.write(MmioTransport::kQueueReady, 1);
    EXPECT_EQ(h.read(MmioTransport::kQueueReady), 0u);
    EXPECT_EQ(status() & kNeedsReset, kNeedsReset);
    EXPECT_FALSE(h.line_up);  // the driver isn't there yet
    h.drive();
    h.notify(0);
    EXPECT_EQ(device->notifications, 0);
}

TEST_F(MmioTest, AResetLowersTheLine) {
    h.negotiate(kVirtioVersion1);
    DriverQueue queue = h.set_up_queue(0, 16);
    h.drive();
    queue.set_available_index(1000);
    h.notify(0);
    ASSERT_TRUE(h.line_up);
    set_status(0);
    EXPECT_FALSE(h.line_up);
    EXPECT_EQ(h.read(MmioTransport::kInterruptStatus), 0u);
    h.write(MmioTransport::kQueueSel, 0);
    EXPECT_EQ(h.read(MmioTransport::kQueueReady), 0u);
}

TEST_F(MmioTest, SurvivesASnapshot) {
    h.negotiate(kVirtioVersion1 | kFeature);
    DriverQueue queue = h.set_up_queue(1, 8);
    h.drive();
    queue.describe_chain(0, {{DriverHarness::kData, 4, 0, 0}});
    queue.offer(0);
    h.notify(1);
    StateWriter out;
    h.transport.save(out);

    bool up = false;
    InterruptLines lines([&](unsigned, bool now) { up = now; });
    MmioTransport other(lines, 5);
    other.attach(std::make_unique<FakeDevice>(h.memory));
    StateReader in(out.bytes());
    other.load(in);
    EXPECT_TRUE(in.at_end());
    EXPECT_TRUE(up);  // the interrupt that was not taken yet
    uint32_t value = 0;
    other.read(MmioTransport::kStatus, std::as_writable_bytes(std::span(&value, 1)));
    EXPECT_EQ(value, kAck | kDriver | kFeaturesOk | kDriverOk);

    for (size_t size = 1; size < out.bytes().size(); ++size) {
        MmioTransport torn(lines, 5);
        torn.attach(std::make_unique<FakeDevice>(h.memory));
        StateReader short_in(std::span<const std::byte>(out.bytes()).first(size));
        EXPECT_THROW(torn.load(short_in), Error) << size;
    }
    MmioTransport empty(lines, 5);
    StateReader again(out.bytes());
    EXPECT_THROW(empty.load(again), Error);  // a device that is not there
}

TEST(InterruptLines, ASharedLineIsUpWhileAnyDeviceWantsIt) {
    std::vector<std::pair<unsigned, bool>> calls;
    InterruptLines lines([&](unsigned line, bool up) { calls.emplace_back(line, up); });
    lines.change(5, true);
    lines.change(5, true);
    lines.change(9, true);
    lines.change(5, false);
    lines.change(5, false);
    lines.change(9, false);
    const std::vector<std::pair<unsigned, bool>> expected = {{5, true}, {9, true}, {5, false}, {9, false}};
    EXPECT_EQ(calls, expected);
}

}  // namespace
}  // namespace inspect
