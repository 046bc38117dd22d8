// SPDX-License-Identifier: LGPL-2.1-or-later
#include "vmm/virtqueue.h"

#include <gtest/gtest.h>

#include <functional>

#include <inspect/error.h>

#include "vmm/driver_for_test.h"

namespace inspect {
namespace {

constexpr uint16_t kSize = 8;
constexpr uint64_t kRingBase = 0x1000, kBuffer = 0x8000, kTable = 0xa000;
constexpr uint16_t kHasNext = DriverQueue::kNext, kDeviceWrites = DriverQueue::kWrite,
                   kIndirect = DriverQueue::kIndirect;

// Where Virtqueue::save() puts the place of the next used entry.
constexpr size_t kNextUsedInState = 40;

class VirtqueueTest : public testing::Test {
  protected:
    VirtqueueTest() { enable(kVirtioRingIndirect); }

    void enable(uint64_t features) {
        queue.reset();
        queue.set_size(kSize);
        queue.set_descriptors(driver.descriptors());
        queue.set_available(driver.available());
        queue.set_used(driver.used());
        queue.enable(features);
    }
    void write_table(const std::vector<DriverQueue::Descriptor>& table) {
        for (size_t i = 0; i < table.size(); ++i) memory.write(kTable + i * 16, table[i]);
    }
    // The queue must find that broken, having completed the chain, and stay so.
    void expect_broken_chain(uint16_t head) {
        EXPECT_FALSE(queue.pop(chain));
        EXPECT_TRUE(queue.broken());
        EXPECT_EQ(driver.used_index(), 1);
        EXPECT_EQ(driver.used_entry(0).id, head);
        EXPECT_EQ(driver.used_entry(0).length, 0u);
        EXPECT_FALSE(queue.pop(chain));
        EXPECT_FALSE(queue.has_available());
    }

    GuestMemory memory{Mapping::anonymous(1u << 20, "test")};
    DriverQueue driver{memory, kRingBase, kSize};
    Virtqueue queue{memory, 64};
    DescriptorChain chain;
};

TEST_F(VirtqueueTest, PopsAndPushesInOrder) {
    driver.describe_chain(2, {{kBuffer, 16, 0, 0},
                              {kBuffer + 0x100, 512, kDeviceWrites, 0},
                              {kBuffer + 0x400, 1, kDeviceWrites, 0}});
    driver.describe_chain(0, {{kBuffer, 4, 0, 0}});
    EXPECT_FALSE(queue.pop(chain));
    driver.offer(2);
    driver.offer(0);
    ASSERT_TRUE(queue.pop(chain));
    EXPECT_EQ(chain.head, 2);
    EXPECT_EQ(chain.readable_bytes, 16u);
    EXPECT_EQ(chain.writable_bytes, 513u);
    EXPECT_EQ(chain.writable.size(), 2u);
    queue.push(2, 513);
    ASSERT_TRUE(queue.pop(chain));
    EXPECT_EQ(chain.head, 0);
    queue.push(0, 0);
    EXPECT_FALSE(queue.pop(chain));
    EXPECT_EQ(driver.used_index(), 2);
    EXPECT_EQ(driver.used_entry(0).id, 2u);
    EXPECT_EQ(driver.used_entry(0).length, 513u);
    EXPECT_FALSE(queue.broken());
}

TEST_F(VirtqueueTest, MergesNeighbours) {
    driver.describe_chain(
        0, {{kBuffer, 16, 0, 0}, {kBuffer + 16, 16, 0, 0}, {kBuffer + 32, 8, kDeviceWrites, 0}});
    driver.offer(0);
    ASSERT_TRUE(queue.pop(chain));
    EXPECT_EQ(chain.readable.size(), 1u);
    EXPECT_EQ(chain.readable[0].iov_len, 32u);
    EXPECT_EQ(chain.writable.size(), 1u);
}

TEST_F(VirtqueueTest, GoesRoundTheRingManyTimes) {
    driver.describe_chain(0, {{kBuffer, 4, 0, 0}});
    for (unsigned i = 0; i < 70000; ++i) {  // past the 16-bit indices too
        driver.offer(0);
        ASSERT_TRUE(queue.pop(chain));
        queue.push(0, i % 7);
    }
    EXPECT_EQ(driver.used_index(), 70000 % 65536);
    EXPECT_FALSE(queue.broken());
}

TEST_F(VirtqueueTest, FollowsAnIndirectTable) {
    write_table({{kBuffer, 16, kHasNext, 2}, {0, 0, 0, 0}, {kBuffer + 64, 8, kDeviceWrites, 0}});
    driver.describe(3, {kTable, 48, kIndirect, 0});
    driver.offer(3);
    ASSERT_TRUE(queue.pop(chain));
    EXPECT_EQ(chain.readable_bytes, 16u);
    EXPECT_EQ(chain.writable_bytes, 8u);
}

TEST_F(VirtqueueTest, UnpopGivesTheChainBack) {
    driver.describe_chain(1, {{kBuffer, 4, 0, 0}});
    driver.offer(1);
    ASSERT_TRUE(queue.pop(chain));
    queue.unpop();
    ASSERT_TRUE(queue.pop(chain));
    EXPECT_EQ(chain.head, 1);
}

// ---- hostile rings ----

struct BadChain {
    const char* name;
    uint16_t head;
    std::function<void(DriverQueue&, const GuestMemory&)> write;
};

class BadChainTest : public VirtqueueTest, public testing::WithParamInterface<BadChain> {};

TEST_P(BadChainTest, BreaksTheQueue) {
    GetParam().write(driver, memory);
    driver.offer(GetParam().head);
    expect_broken_chain(GetParam().head);
}

void table(const GuestMemory& memory, std::vector<DriverQueue::Descriptor> entries) {
    for (size_t i = 0; i < entries.size(); ++i) memory.write(kTable + i * 16, entries[i]);
}

INSTANTIATE_TEST_SUITE_P(
    All, BadChainTest,
    testing::Values(BadChain{"LoopOfOne", 0,
                             [](DriverQueue& d, const GuestMemory&) {
                                 d.describe(0, {kBuffer, 4, kHasNext, 0});
                             }},
                    BadChain{"LoopOfTwo", 0,
                             [](DriverQueue& d, const GuestMemory&) {
                                 d.describe(0, {kBuffer, 4, kHasNext, 1});
                                 d.describe(1, {kBuffer, 4, kHasNext, 0});
                             }},
                    BadChain{"NextOutOfRange", 0,
                             [](DriverQueue& d, const GuestMemory&) {
                                 d.describe(0, {kBuffer, 4, kHasNext, kSize});
                             }},
                    BadChain{"NextFarOutOfRange", 0,
                             [](DriverQueue& d, const GuestMemory&) {
                                 d.describe(0, {kBuffer, 4, kHasNext, 65535});
                             }},
                    BadChain{"BufferOutside", 0,
                             [](DriverQueue& d, const GuestMemory&) {
                                 d.describe(0, {1u << 20, 1, 0, 0});
                             }},
                    BadChain{"BufferOverEnd", 0,
                             [](DriverQueue& d, const GuestMemory&) {
                                 d.describe(0, {(1u << 20) - 4, 5, kDeviceWrites, 0});
                             }},
                    BadChain{"AddressOverflows", 0,
                             [](DriverQueue& d, const GuestMemory&) {
                                 d.describe(0, {UINT64_MAX - 2, 16, 0, 0});
                             }},
                    BadChain{"LengthHuge", 0,
                             [](DriverQueue& d, const GuestMemory&) {
                                 d.describe(0, {kBuffer, UINT32_MAX, 0, 0});
                             }},
                    BadChain{
                        "ReadableAfterWritable", 0,
                        [](DriverQueue& d, const GuestMemory&) {
                            d.describe_chain(0, {{kBuffer, 4, kDeviceWrites, 0}, {kBuffer + 64, 4, 0, 0}});
                        }},
                    BadChain{"IndirectLengthOdd", 0,
                             [](DriverQueue& d, const GuestMemory&) {
                                 d.describe(0, {kTable, 17, kIndirect, 0});
                             }},
                    BadChain{"IndirectEmpty", 0,
                             [](DriverQueue& d, const GuestMemory&) {
                                 d.describe(0, {kTable, 0, kIndirect, 0});
                             }},
                    BadChain{"IndirectOutside", 0,
                             [](DriverQueue& d, const GuestMemory&) {
                                 d.describe(0, {(1u << 20) - 16, 32, kIndirect, 0});
                             }},
                    BadChain{"IndirectHuge", 0,
                             [](DriverQueue& d, const GuestMemory&) {
                                 d.describe(0, {0, 1u << 19, kIndirect, 0});
                             }},
                    BadChain{"IndirectWithNext", 0,
                             [](DriverQueue& d, const GuestMemory& m) {
                                 table(m, {{kBuffer, 4, 0, 0}});
                                 d.describe_chain(0, {{kTable, 16, kIndirect, 0}, {kBuffer, 4, 0, 0}});
                             }},
                    BadChain{"IndirectNested", 0,
                             [](DriverQueue& d, const GuestMemory& m) {
                                 table(m, {{kTable, 16, kIndirect, 0}});
                                 d.describe(0, {kTable, 16, kIndirect, 0});
                             }},
                    BadChain{"IndirectLoop", 0,
                             [](DriverQueue& d, const GuestMemory& m) {
                                 table(m, {{kBuffer, 4, kHasNext, 1}, {kBuffer, 4, kHasNext, 0}});
                                 d.describe(0, {kTable, 32, kIndirect, 0});
                             }},
                    BadChain{"IndirectNextOutOfRange", 7,
                             [](DriverQueue& d, const GuestMemory& m) {
                                 table(m, {{kBuffer, 4, kHasNext, 2}});
                                 d.describe(7, {kTable, 32, kIndirect, 0});
                             }}),
    [](const auto& each) { return each.param.name; });

TEST_F(VirtqueueTest, IndirectMustHaveBeenNegotiated) {
    enable(0);
    write_table({{kBuffer, 4, 0, 0}});
    driver.describe(0, {kTable, 16, kIndirect, 0});
    driver.offer(0);
    expect_broken_chain(0);
}

TEST_F(VirtqueueTest, HeadOutOfRangeBreaks) {
    driver.offer(kSize);
    EXPECT_FALSE(queue.pop(chain));
    EXPECT_TRUE(queue.broken());
    EXPECT_EQ(driver.used_index(), 0);  // there is no chain to complete
}

TEST_F(VirtqueueTest, AvailableIndexJumpsBreak) {
    for (uint16_t jump : {uint16_t{kSize + 1}, uint16_t{0x8000}, uint16_t{0xffff}}) {
        enable(0);
        driver.set_available_index(jump);
        EXPECT_FALSE(queue.pop(chain));
        EXPECT_TRUE(queue.broken()) << jump;
    }
}

TEST_F(VirtqueueTest, AFullRingIsNoJump) {
    driver.describe_chain(0, {{kBuffer, 4, 0, 0}});
    for (int i = 0; i < kSize; ++i) driver.offer(0);
    for (int i = 0; i < kSize; ++i) EXPECT_TRUE(queue.pop(chain));
    EXPECT_FALSE(queue.pop(chain));
    EXPECT_FALSE(queue.broken());
}

TEST_F(VirtqueueTest, BadRingsAreNotEnabled) {
    struct Bad {
        const char* what;
        uint32_t size;
        uint64_t descriptors, available, used;
    };
    const uint64_t d = driver.descriptors(), a = driver.available(), u = driver.used();
    for (const Bad& bad :
         {Bad{"size 0", 0, d, a, u}, Bad{"size 3", 3, d, a, u}, Bad{"size 128", 128, d, a, u},
          Bad{"size 2^31", 1u << 31, d, a, u}, Bad{"table unaligned", kSize, d + 8, a, u},
          Bad{"available unaligned", kSize, d, a + 1, u}, Bad{"used unaligned", kSize, d, a, u + 2},
          Bad{"table outside", kSize, 1u << 20, a, u},
          Bad{"table over the end", kSize, (1u << 20) - 16, a, u},
          Bad{"available over the end", kSize, d, (1u << 20) - 4, u},
          Bad{"used over the end", kSize, d, a, (1u << 20) - 4},
          Bad{"all ones", kSize, ~uint64_t{15}, ~uint64_t{15}, ~uint64_t{15}}}) {
        queue.reset();
        queue.set_size(bad.size);
        queue.set_descriptors(bad.descriptors);
        queue.set_available(bad.available);
        queue.set_used(bad.used);
        queue.enable(0);
        EXPECT_FALSE(queue.ready()) << bad.what;
        EXPECT_TRUE(queue.broken()) << bad.what;
        EXPECT_FALSE(queue.pop(chain)) << bad.what;
        queue.push(0, 0);  // harmless
        queue.want_notifications(true);
        EXPECT_FALSE(queue.should_interrupt()) << bad.what;
    }
}

TEST_F(VirtqueueTest, AReadyQueueDoesNotMove) {
    queue.set_descriptors(0x20000);
    queue.set_size(2);
    driver.describe_chain(5, {{kBuffer, 4, 0, 0}});
    driver.offer(5);
    ASSERT_TRUE(queue.pop(chain));
    EXPECT_EQ(chain.head, 5);
}

// ---- notifications ----

TEST_F(VirtqueueTest, FlagsSuppressNotifications) {
    driver.describe_chain(0, {{kBuffer, 4, 0, 0}});
    EXPECT_FALSE(queue.should_interrupt());
    driver.offer(0);
    ASSERT_TRUE(queue.pop(chain));
    queue.push(0, 0);
    EXPECT_TRUE(queue.should_interrupt());
    EXPECT_FALSE(queue.should_interrupt());
    driver.set_available_flags(1);
    driver.offer(0);
    ASSERT_TRUE(queue.pop(chain));
    queue.push(0, 0);
    EXPECT_FALSE(queue.should_interrupt());
    queue.want_notifications(false);
    EXPECT_EQ(driver.used_flags(), 1);
    queue.want_notifications(true);
    EXPECT_EQ(driver.used_flags(), 0);
}

TEST_F(VirtqueueTest, EventIndicesSuppressNotifications) {
    enable(kVirtioRingEventIndex);
    driver.describe_chain(0, {{kBuffer, 4, 0, 0}});
    auto serve = [&](int count) {
        for (int i = 0; i < count; ++i) {
            driver.offer(0);
            ASSERT_TRUE(queue.pop(chain));
            queue.push(0, 0);
        }
    };
    serve(1);
    EXPECT_TRUE(queue.should_interrupt());  // the first always
    driver.set_used_event(3);               // "when the fourth is used"
    serve(2);
    EXPECT_FALSE(queue.should_interrupt());
    serve(1);
    EXPECT_TRUE(queue.should_interrupt());
    serve(1);
    EXPECT_FALSE(queue.should_interrupt());
    driver.set_used_event(6);
    serve(4);  // passes it
    EXPECT_TRUE(queue.should_interrupt());
    queue.want_notifications(true);
    EXPECT_EQ(driver.available_event(), 9);
}

TEST_F(VirtqueueTest, ARoundIsNoLongerThanTheQueue) {
    driver.describe_chain(0, {{kBuffer, 4, 0, 0}});
    for (int i = 0; i < kSize; ++i) driver.offer(0);
    Virtqueue::Round round(queue);
    for (int i = 0; i < kSize; ++i) EXPECT_TRUE(round.pop(chain));
    EXPECT_FALSE(round.pop(chain));
    EXPECT_FALSE(queue.broken());
}

// The used ring's index is the available ring's: each chain that is given back seems to bring another.
TEST_F(VirtqueueTest, RingsThatOverlapDoNotKeepTheDeviceBusyForever) {
    driver.describe_chain(0, {{kBuffer, 4, 0, 0}});
    queue.reset();
    queue.set_size(kSize);
    queue.set_descriptors(driver.descriptors());
    queue.set_available(driver.available());
    queue.set_used(driver.available());
    queue.enable(0);
    StateWriter out;
    queue.save(out);
    out.bytes()[kNextUsedInState] = std::byte{1};
    StateReader in(out.bytes());
    queue.load(in);
    driver.offer(0);
    Virtqueue::Round round(queue);
    int served = 0;
    while (round.pop(chain)) {
        ++served;
        queue.push(chain.head, 0);
    }
    EXPECT_EQ(served, kSize);
    EXPECT_TRUE(queue.broken());
}

// ---- snapshots ----

TEST_F(VirtqueueTest, SurvivesASnapshot) {
    driver.describe_chain(4, {{kBuffer, 4, 0, 0}});
    driver.offer(4);
    driver.offer(4);
    ASSERT_TRUE(queue.pop(chain));
    queue.push(4, 0);
    StateWriter out;
    queue.save(out);
    Virtqueue other(memory, 64);
    StateReader in(out.bytes());
    other.load(in);
    EXPECT_TRUE(in.at_end());
    ASSERT_TRUE(other.pop(chain));
    EXPECT_EQ(chain.head, 4);
    other.push(4, 9);
    EXPECT_EQ(driver.used_index(), 2);
    EXPECT_EQ(driver.used_entry(1).length, 9u);
}

TEST_F(VirtqueueTest, ASnapshotCannotPointOutside) {
    StateWriter out;
    queue.save(out);
    for (size_t size = 0; size < out.bytes().size(); ++size) {
        Virtqueue other(memory, 64);
        StateReader in(std::span<const std::byte>(out.bytes()).first(size));
        EXPECT_THROW(other.load(in), Error) << size;
    }
    out.bytes()[5] = std::byte{0xff};  // the descriptor table's address
    Virtqueue other(memory, 64);
    StateReader in(out.bytes());
    EXPECT_THROW(other.load(in), Error);
}

}  // namespace
}  // namespace inspect
