// SPDX-License-Identifier: LGPL-2.1-or-later
#include "vmm/snapshot_files.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>

#include <inspect/error.h>

#include "base/fd.h"
#include "vmm/layout.h"
#include "vmm/state_stream.h"

namespace inspect {
namespace {

constexpr SnapshotShape kShape{64u << 20, 32u << 20, 4};

std::vector<std::byte> some_state() {
    std::vector<std::byte> state(1000);
    for (size_t i = 0; i < state.size(); ++i) state[i] = static_cast<std::byte>(i * 7);
    return state;
}

Fd memory_file() { return Fd(::memfd_create("test", MFD_CLOEXEC)); }

TEST(StateStream, RoundTrip) {
    StateWriter out;
    out.put(uint32_t{7});
    out.put(uint8_t{1});
    out.put_list(std::span<const uint16_t>(std::vector<uint16_t>{1, 2, 3}));
    out.put_string("abc");
    StateReader in(out.bytes());
    EXPECT_EQ(in.get<uint32_t>(), 7u);
    EXPECT_TRUE(in.get_bool());
    EXPECT_EQ(in.get_list<uint16_t>(3), (std::vector<uint16_t>{1, 2, 3}));
    EXPECT_EQ(in.get_string(10), "abc");
    EXPECT_TRUE(in.at_end());
    EXPECT_THROW(in.get<uint8_t>(), Error);
}

TEST(StateStream, ListsAreBounded) {
    StateWriter out;
    out.put(uint32_t{0xffffffff});
    out.put(uint64_t{0});
    StateReader too_many(out.bytes());
    EXPECT_THROW(too_many.get_list<uint64_t>(1000), Error);
    StateReader too_short(out.bytes());
    EXPECT_THROW(too_short.get_list<uint64_t>(0xffffffff), Error);
    StateWriter two;
    two.put(uint8_t{2});
    StateReader no_bool(two.bytes());
    EXPECT_THROW(no_bool.get_bool(), Error);
}

TEST(SnapshotFiles, StateRoundTrip) {
    const auto state = some_state();
    const SnapshotId id = make_snapshot_id();
    const auto file = encode_state_file(kShape, id, state);
    const DecodedState decoded = decode_state_file(file, kShape);
    EXPECT_EQ(decoded.id, id);
    EXPECT_TRUE(std::ranges::equal(decoded.state, state));
    EXPECT_NE(make_snapshot_id(), id);
}

TEST(SnapshotFiles, EveryFlippedBitIsFound) {
    auto file = encode_state_file(kShape, make_snapshot_id(), some_state());
    for (size_t i = 0; i < file.size(); ++i) {
        for (int bit = 0; bit < 8; ++bit) {
            file[i] ^= static_cast<std::byte>(1 << bit);
            ASSERT_THROW(decode_state_file(file, kShape), Error) << i << "." << bit;
            file[i] ^= static_cast<std::byte>(1 << bit);
        }
    }
}

TEST(SnapshotFiles, EveryTruncationIsFound) {
    auto file = encode_state_file(kShape, make_snapshot_id(), some_state());
    for (size_t size = 0; size < file.size(); ++size)
        ASSERT_THROW(decode_state_file(std::span(file).first(size), kShape), Error) << size;
    file.push_back(std::byte{0});
    EXPECT_THROW(decode_state_file(file, kShape), Error);
}

TEST(SnapshotFiles, AnotherShapeIsRefused) {
    const auto file = encode_state_file(kShape, make_snapshot_id(), some_state());
    for (SnapshotShape other :
         {SnapshotShape{128u << 20, 32u << 20, 4}, SnapshotShape{64u << 20, 34u << 20, 4},
          SnapshotShape{64u << 20, 32u << 20, 5}})
        EXPECT_THROW(decode_state_file(file, other), Error);
}

TEST(SnapshotFiles, AHugeStateFileIsNotRead) {
    Fd file = memory_file();
    ASSERT_EQ(::ftruncate(file.get(), off_t{1} << 40), 0);
    EXPECT_THROW(read_state_file(file.get()), Error);
}

class MemoryFileTest : public testing::Test {
  protected:
    static constexpr uint64_t kBytes = 4u << 20;
    MemoryFileTest() {
        std::memset(ram.data() + 5 * kPageSize, 'a', kPageSize);
        std::memset(ram.data() + 6 * kPageSize + 1, 'b', 1);
        std::memset(ram.data() + kBytes - 1, 'c', 1);
        write_memory_file(file.get(), {ram.data(), kBytes}, id);
    }
    Mapping ram = Mapping::anonymous(kBytes, "test");
    // Not a memfd: some hosts give those huge pages, which hide the holes.
    Fd file = open_file(testing::TempDir(), O_TMPFILE | O_RDWR);
    SnapshotId id = make_snapshot_id();
};

TEST_F(MemoryFileTest, RoundTripAndSparse) {
    struct stat st;
    ASSERT_EQ(::fstat(file.get(), &st), 0);
    EXPECT_LE(st.st_blocks * 512, static_cast<off_t>(4 * kPageSize));  // three pages and the one with the id
    Mapping mapped = map_memory_file(file.get(), kBytes, id);
    EXPECT_EQ(std::memcmp(mapped.data(), ram.data(), kBytes), 0);
    mapped.data()[0] = std::byte{1};  // private
    EXPECT_EQ(map_memory_file(file.get(), kBytes, id).data()[0], std::byte{0});
}

TEST_F(MemoryFileTest, TornOrForeignIsRefused) {
    SnapshotId other = make_snapshot_id();
    EXPECT_THROW(map_memory_file(file.get(), kBytes, other), Error);
    EXPECT_THROW(map_memory_file(file.get(), kBytes - kPageSize, id), Error);
    ASSERT_EQ(::ftruncate(file.get(), static_cast<off_t>(kBytes)), 0);
    EXPECT_THROW(map_memory_file(file.get(), kBytes, id), Error);
    ASSERT_EQ(::ftruncate(file.get(), static_cast<off_t>(kBytes + kPageSize)),
              0);  // as a crash would leave it
    EXPECT_THROW(map_memory_file(file.get(), kBytes, id), Error);
    ASSERT_EQ(::ftruncate(file.get(), 0), 0);
    EXPECT_THROW(map_memory_file(file.get(), kBytes, id), Error);
}

}  // namespace
}  // namespace inspect
