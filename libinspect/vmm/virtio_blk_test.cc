// SPDX-License-Identifier: LGPL-2.1-or-later
#include "vmm/virtio_blk.h"

#include <gtest/gtest.h>

#include <cstring>

#include <inspect/error.h>

#include "block/memory_device.h"
#include "vmm/driver_for_test.h"

namespace inspect {
namespace {

constexpr uint32_t kIn = 0, kOut = 1, kFlush = 4, kGetId = 8, kDiscard = 11, kWriteZeroes = 13;
constexpr uint8_t kOk = 0, kIoError = 1, kUnsupported = 2, kUntouched = 0xee;

// A MemoryDevice that counts, fails when told to, and tells when it is gone.
class ProbeDevice final : public BlockDevice {
  public:
    struct Log {
        int flushes = 0, discards = 0, zeroings = 0, reads = 0, writes = 0;
        bool may_unmap = false, fail = false, closed = false;
        uint64_t offset = 0, length = 0;
        std::vector<std::byte> bytes;  // at the end
    };
    ProbeDevice(uint64_t size, bool read_only, Log& log) : disk_(size), read_only_(read_only), log_(log) {}
    ~ProbeDevice() override {
        log_.closed = true;
        log_.bytes = disk_.bytes();
    }
    uint64_t size() const noexcept override { return disk_.size(); }
    bool read_only() const noexcept override { return read_only_; }
    void read(uint64_t offset, std::span<std::byte> out) override {
        ++log_.reads;
        maybe_fail();
        disk_.read(offset, out);
    }
    void write(uint64_t offset, std::span<const std::byte> in) override {
        ++log_.writes;
        maybe_fail();
        disk_.write(offset, in);
    }
    void flush() override {
        ++log_.flushes;
        maybe_fail();
    }
    void discard(uint64_t offset, uint64_t length) override {
        ++log_.discards;
        note(offset, length);
        disk_.discard(offset, length);
    }
    void write_zeroes(uint64_t offset, uint64_t length, bool may_unmap) override {
        ++log_.zeroings;
        log_.may_unmap = may_unmap;
        note(offset, length);
        disk_.write_zeroes(offset, length, may_unmap);
    }
    std::vector<Extent> extents(uint64_t offset, uint64_t length) override {
        return disk_.extents(offset, length);
    }

  private:
    void maybe_fail() const {
        if (log_.fail) throw Error(ErrorKind::kCorrupt, "the disk is on fire");
    }
    void note(uint64_t offset, uint64_t length) {
        maybe_fail();
        log_.offset = offset;
        log_.length = length;
    }
    MemoryDevice disk_;
    bool read_only_;
    Log& log_;
};

class BlkTest : public testing::Test {
  protected:
    static constexpr uint64_t kHeader = DriverHarness::kData, kStatusByte = kHeader + 0x100,
                              kBuffer = kHeader + 0x1000;

    void attach(uint64_t size, VirtioBlk::Options options = {}, bool device_read_only = false) {
        auto owned = std::make_unique<VirtioBlk>(
            h.memory, std::make_unique<ProbeDevice>(size, device_read_only, log), options, *status, stopping);
        blk = owned.get();
        h.transport.attach(std::move(owned));
        h.negotiate(kVirtioVersion1 | kVirtioRingIndirect);
        queue.emplace(h.set_up_queue(0, 64));
        h.drive();
    }
    void offer(std::vector<DriverQueue::Descriptor> chain) {
        h.bytes(kStatusByte, 1)[0] = std::byte{kUntouched};
        queue->describe_chain(0, std::move(chain));
        queue->offer(0);
        h.notify(0);
    }
    void write_header(uint32_t type, uint64_t sector) {
        h.memory.write(kHeader, type);
        h.memory.write(kHeader + 4, uint32_t{0});
        h.memory.write(kHeader + 8, sector);
    }
    // One request with its data at kBuffer; returns the status byte.
    uint8_t request(uint32_t type, uint64_t sector, uint32_t bytes = 0, bool device_writes = false) {
        write_header(type, sector);
        std::vector<DriverQueue::Descriptor> chain = {{kHeader, 16, 0, 0}};
        if (bytes > 0)
            chain.push_back({kBuffer, bytes, device_writes ? DriverQueue::kWrite : uint16_t{0}, 0});
        chain.push_back({kStatusByte, 1, DriverQueue::kWrite, 0});
        offer(chain);
        return result();
    }
    uint8_t result() { return std::to_integer<uint8_t>(h.bytes(kStatusByte, 1)[0]); }
    void fill(uint64_t address, size_t bytes, char value) {
        std::memset(h.bytes(address, bytes).data(), value, bytes);
    }
    char at(uint64_t address) { return std::to_integer<char>(h.bytes(address, 1)[0]); }
    uint64_t capacity() { return h.read(0x100) | uint64_t{h.read(0x104)} << 32; }
    uint32_t used_length() {
        return queue->used_entry(static_cast<uint16_t>(queue->used_index() - 1)).length;
    }
    uint8_t range_request(uint32_t type, uint64_t sector, uint32_t sectors, uint32_t flags) {
        h.memory.write(kBuffer, sector);
        h.memory.write(kBuffer + 8, sectors);
        h.memory.write(kBuffer + 12, flags);
        return request(type, 0, 16);
    }

    ProbeDevice::Log log;  // outlives the device
    std::unique_ptr<VmmStatus> status = std::make_unique<VmmStatus>();
    std::atomic<bool> stopping{false};
    DriverHarness h;
    VirtioBlk* blk = nullptr;
    std::optional<DriverQueue> queue;
};

TEST_F(BlkTest, ReadsWhatItWrote) {
    attach(1u << 20);
    EXPECT_EQ(capacity(), 2048u);
    fill(kBuffer, 4096, 'w');
    EXPECT_EQ(request(kOut, 8, 4096), kOk);
    EXPECT_EQ(used_length(), 1u);
    fill(kBuffer, 4096, 'x');
    EXPECT_EQ(request(kIn, 8, 4096, true), kOk);
    EXPECT_EQ(used_length(), 4097u);
    EXPECT_EQ(at(kBuffer), 'w');
    EXPECT_EQ(at(kBuffer + 4095), 'w');
    EXPECT_EQ(request(kIn, 7, 512, true), kOk);
    EXPECT_EQ(at(kBuffer), '\0');
    EXPECT_EQ(request(kFlush, 0), kOk);
    EXPECT_EQ(log.flushes, 1);
    EXPECT_EQ(status->block_requests, 4u);
    EXPECT_EQ(status->block_bytes_written, 4096u);
    EXPECT_TRUE(h.line_up);
}

TEST_F(BlkTest, RequestsMayBeCutAnywhere) {
    attach(1u << 20);
    write_header(kOut, 2);
    for (int i = 0; i < 512; ++i) fill(kBuffer + static_cast<uint64_t>(i), 1, static_cast<char>(i));
    // The header in three pieces, the last of them with data; data in odd pieces.
    std::memcpy(h.bytes(kBuffer - 6, 6).data(), h.bytes(kHeader + 10, 6).data(), 6);
    offer({{kHeader, 3, 0, 0},
           {kHeader + 3, 7, 0, 0},
           {kBuffer - 6, 6 + 5, 0, 0},
           {kBuffer + 5, 300, 0, 0},
           {kBuffer + 305, 207, 0, 0},
           {kStatusByte, 1, DriverQueue::kWrite, 0}});
    EXPECT_EQ(result(), kOk);
    // Read back with the status behind the data in one piece.
    write_header(kIn, 2);
    fill(kBuffer, 600, 'x');
    offer({{kHeader, 16, 0, 0},
           {kBuffer, 100, DriverQueue::kWrite, 0},
           {kBuffer + 200, 413, DriverQueue::kWrite, 0}});
    EXPECT_EQ(at(kBuffer + 99), 99);
    EXPECT_EQ(at(kBuffer + 200), 100);
    EXPECT_EQ(at(kBuffer + 200 + 411), static_cast<char>(511));
    EXPECT_EQ(at(kBuffer + 200 + 412), kOk);
}

TEST_F(BlkTest, OutOfRangeAndUnalignedIsAnError) {
    attach(1u << 20);
    struct Bad {
        uint64_t sector;
        uint32_t bytes;
    };
    for (const Bad& bad : {Bad{2048, 512}, Bad{2047, 1024}, Bad{UINT64_MAX, 512}, Bad{UINT64_MAX / 512, 512},
                           Bad{UINT64_MAX / 512 + 1, 512}, Bad{0, 511}, Bad{0, 513}}) {
        EXPECT_EQ(request(kIn, bad.sector, bad.bytes, true), kIoError) << bad.sector << " " << bad.bytes;
        EXPECT_EQ(used_length(), 1u);
        EXPECT_EQ(request(kOut, bad.sector, bad.bytes), kIoError) << bad.sector << " " << bad.bytes;
    }
    EXPECT_EQ(log.reads, 0);
    EXPECT_EQ(log.writes, 0);
    EXPECT_EQ(request(kIn, 2047, 512, true), kOk);
}

TEST_F(BlkTest, AFailingDiskIsAnErrorThatIsRemembered) {
    attach(1u << 20);
    log.fail = true;
    EXPECT_EQ(request(kIn, 0, 512, true), kIoError);
    EXPECT_EQ(request(kOut, 0, 512), kIoError);
    EXPECT_EQ(request(kFlush, 0), kIoError);
    EXPECT_EQ(status->block_errors, 3u);
    EXPECT_STREQ(status->block_error, "the disk is on fire");
    log.fail = false;
    EXPECT_EQ(request(kIn, 0, 512, true), kOk);
}

TEST_F(BlkTest, MalformedRequestsAreCompleted) {
    attach(1u << 20);
    write_header(kIn, 0);
    offer({{kHeader, 16, 0, 0}});  // no status
    EXPECT_EQ(queue->used_index(), 1);
    EXPECT_EQ(used_length(), 0u);
    offer({{kHeader, 15, 0, 0}, {kStatusByte, 1, DriverQueue::kWrite, 0}});  // half a header
    EXPECT_EQ(result(), kIoError);
    offer({{kStatusByte, 1, DriverQueue::kWrite, 0}});  // no header
    EXPECT_EQ(result(), kIoError);
    write_header(77, 0);
    offer({{kHeader, 16, 0, 0}, {kStatusByte, 1, DriverQueue::kWrite, 0}});
    EXPECT_EQ(result(), kUnsupported);
    EXPECT_EQ(queue->used_index(), 4);
    EXPECT_EQ(h.read(MmioTransport::kStatus) & 64, 0u);
}

TEST_F(BlkTest, HugeRequestsAreRefused) {
    attach(1u << 20);
    // 600 descriptors of half a megabyte, all of the same memory.
    for (uint32_t i = 0; i < 600; ++i)
        h.memory.write(0x40000 + i * 16,
                       DriverQueue::Descriptor{0, 1u << 19, DriverQueue::kWrite | DriverQueue::kNext,
                                               static_cast<uint16_t>(i + 1)});
    h.memory.write(0x40000 + 600 * 16, DriverQueue::Descriptor{kStatusByte, 1, DriverQueue::kWrite, 0});
    queue->describe(0, {0x40000, 601 * 16, DriverQueue::kIndirect, 0});
    queue->offer(0);
    h.notify(0);
    EXPECT_EQ(result(), kIoError);
    EXPECT_EQ(log.reads, 0);
}

TEST_F(BlkTest, TellsItsSerial) {
    attach(1u << 20, {.serial = "abc"});
    EXPECT_EQ(request(kGetId, 0, 20, true), kOk);
    EXPECT_EQ(std::memcmp(h.bytes(kBuffer, 20).data(), "abc\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 20), 0);
    EXPECT_EQ(request(kGetId, 0, 19, true), kIoError);
    EXPECT_EQ(request(kGetId, 0, 0), kIoError);
}

TEST_F(BlkTest, AReadOnlyDiskIsNotChanged) {
    attach(1u << 20, {.read_only = true});
    EXPECT_EQ(h.read(MmioTransport::kDeviceFeatures) & VirtioBlk::kReadOnly, uint32_t{VirtioBlk::kReadOnly});
    EXPECT_EQ(h.read(MmioTransport::kDeviceFeatures) & VirtioBlk::kDiscard, 0u);
    EXPECT_EQ(request(kOut, 0, 512), kIoError);
    EXPECT_EQ(range_request(kDiscard, 0, 8, 0), kIoError);
    EXPECT_EQ(range_request(kWriteZeroes, 0, 8, 0), kIoError);
    EXPECT_EQ(request(kFlush, 0), kOk);
    EXPECT_EQ(request(kIn, 0, 512, true), kOk);
    EXPECT_EQ(log.writes + log.discards + log.zeroings + log.flushes, 0);
}

TEST_F(BlkTest, AReadOnlyDeviceMakesAReadOnlyDisk) {
    attach(1u << 20, {}, true);
    EXPECT_EQ(request(kOut, 0, 512), kIoError);
    EXPECT_EQ(log.writes, 0);
}

TEST_F(BlkTest, DiscardsAndZeroes) {
    attach(1u << 20);
    fill(kBuffer, 4096, 'w');
    ASSERT_EQ(request(kOut, 0, 4096), kOk);
    EXPECT_EQ(range_request(kDiscard, 1, 2, 0), kOk);
    EXPECT_EQ(log.offset, 512u);
    EXPECT_EQ(log.length, 1024u);
    EXPECT_EQ(range_request(kWriteZeroes, 4, 1, 1), kOk);
    EXPECT_TRUE(log.may_unmap);
    EXPECT_EQ(range_request(kWriteZeroes, 5, 1, 0), kOk);
    EXPECT_FALSE(log.may_unmap);
    ASSERT_EQ(request(kIn, 0, 4096, true), kOk);
    std::string sectors;
    for (uint64_t i = 0; i < 8; ++i) sectors += at(kBuffer + i * 512) ? 'w' : '0';
    EXPECT_EQ(sectors, "w00w00ww");
}

TEST_F(BlkTest, BadRangesDoNothing) {
    attach(1u << 20);
    EXPECT_EQ(range_request(kDiscard, 0, 8, 1), kUnsupported);      // unmap is for WRITE_ZEROES
    EXPECT_EQ(range_request(kWriteZeroes, 0, 8, 2), kUnsupported);  // a flag nobody knows
    EXPECT_EQ(range_request(kDiscard, 2048, 1, 0), kIoError);
    EXPECT_EQ(range_request(kDiscard, UINT64_MAX, 1, 0), kIoError);
    EXPECT_EQ(range_request(kDiscard, 0, UINT32_MAX, 0), kIoError);
    EXPECT_EQ(request(kDiscard, 0, 15), kIoError);
    EXPECT_EQ(request(kDiscard, 0, 16 * 17), kIoError);
    EXPECT_EQ(request(kDiscard, 0), kIoError);
    // The second of two is bad: the first is not done either.
    h.memory.write(kBuffer + 16, uint64_t{9999});
    h.memory.write(kBuffer + 24, uint64_t{1});
    h.memory.write(kBuffer, uint64_t{0});
    h.memory.write(kBuffer + 8, uint64_t{1});
    EXPECT_EQ(request(kDiscard, 0, 32), kIoError);
    EXPECT_EQ(log.discards + log.zeroings, 0);
}

TEST_F(BlkTest, TheTailOfAnImageIsNeitherLostNorInvented) {
    attach(1000);
    EXPECT_EQ(capacity(), 2u);
    // What is behind the end reads as zeros.
    fill(kBuffer, 1024, 'x');
    EXPECT_EQ(request(kIn, 0, 1024, true), kOk);
    EXPECT_EQ(at(kBuffer + 999), '\0');
    EXPECT_EQ(at(kBuffer + 1023), '\0');
    // Zeros may be written there, the rest arrives.
    fill(kBuffer, 1024, '\0');
    fill(kBuffer, 488, 't');
    EXPECT_EQ(request(kOut, 1, 512), kOk);
    EXPECT_EQ(request(kIn, 0, 1024, true), kOk);
    EXPECT_EQ(at(kBuffer + 511), '\0');
    EXPECT_EQ(at(kBuffer + 512), 't');
    EXPECT_EQ(at(kBuffer + 999), 't');
    EXPECT_EQ(at(kBuffer + 1000), '\0');
    // Anything else fails and changes nothing.
    fill(kBuffer, 512, 'u');
    EXPECT_EQ(request(kOut, 1, 512), kIoError);
    EXPECT_EQ(request(kIn, 1, 512, true), kOk);
    EXPECT_EQ(at(kBuffer), 't');
    EXPECT_EQ(range_request(kWriteZeroes, 1, 1, 0), kOk);
    EXPECT_EQ(log.offset + log.length, 1000u);
}

TEST_F(BlkTest, CapacityIsWholeBlocks) {
    attach(5000, {.block_size = 4096});
    EXPECT_EQ(capacity(), 16u);
    EXPECT_EQ(h.read(0x114), 4096u);
    fill(kBuffer, 4096, 'x');
    EXPECT_EQ(request(kIn, 10, 1024, true), kOk);  // wholly behind the end
    EXPECT_EQ(at(kBuffer), '\0');
    EXPECT_EQ(at(kBuffer + 1023), '\0');
    EXPECT_EQ(range_request(kDiscard, 10, 6, 0), kOk);
    EXPECT_EQ(log.discards, 0);
}

TEST_F(BlkTest, AnEmptyDiskHasNothing) {
    attach(0);
    EXPECT_EQ(capacity(), 0u);
    EXPECT_EQ(request(kIn, 0, 512, true), kIoError);
}

TEST_F(BlkTest, BeginsNothingWhenStopping) {
    attach(1u << 20);
    stopping = true;
    EXPECT_EQ(request(kIn, 0, 512, true), kUntouched);
    EXPECT_EQ(queue->used_index(), 0);
}

TEST_F(BlkTest, CloseFlushesAndFrees) {
    attach(4096);
    fill(kBuffer, 512, 'c');
    ASSERT_EQ(request(kOut, 0, 512), kOk);
    blk->close();
    EXPECT_EQ(log.flushes, 1);
    EXPECT_TRUE(log.closed);
    EXPECT_EQ(log.bytes[0], std::byte{'c'});
}

TEST_F(BlkTest, ABlockSizeMustBeOne) { EXPECT_THROW(attach(4096, {.block_size = 1000}), Error); }

}  // namespace
}  // namespace inspect
