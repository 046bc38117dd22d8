// SPDX-License-Identifier: LGPL-2.1-or-later
#include "block/overlay.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <csignal>

#include "base/temp_dir_for_test.h"
#include "block/iovec.h"
#include "block/memory_device.h"
#include "block/raw.h"
#include "block/store_for_test.h"

namespace inspect {
namespace {

// What the changed runs of a store say about a device that had `before`.
Bytes apply_changes(const OverlayStore& store, Bytes before) {
    for (auto run = store.next_changed(0); run; run = store.next_changed(run->end())) {
        auto* at = before.data() + run->offset;
        if (run->state == OverlayStore::State::kZero) {
            std::fill_n(at, run->length, std::byte{0});
        } else {
            iovec piece{at, run->length};
            store.read(run->state, run->offset, {&piece, 1});
        }
    }
    return before;
}

// Random operations at odd places against a plain array; sizes with and without a partial last block; a
// memory limit that makes some blocks spill.
void differential(uint64_t size, uint64_t memory_limit, int operations, uint64_t seed) {
    SCOPED_TRACE("size " + std::to_string(size) + " limit " + std::to_string(memory_limit));
    std::mt19937_64 random(seed);
    const Bytes before = random_bytes(random, size);
    Bytes model = before;
    auto store = make_store(size, memory_limit);
    Overlay overlay(std::make_unique<MemoryDevice>(before), store);
    for (int i = 0; i < operations; ++i) {
        uint64_t offset = random() % (size + 1);
        if (random() % 3 == 0) offset &= ~uint64_t{4095};
        uint64_t length = std::min<uint64_t>(size - offset, random() % (random() % 8 == 0 ? 60'000 : 9'000));
        if (random() % 3 == 0) length = std::min(size - offset, length & ~uint64_t{4095});
        if (random() % 16 == 0) length = size - offset;
        auto in_model = model.begin() + static_cast<std::ptrdiff_t>(offset);
        auto pieces_of = [&random](Bytes& bytes) {
            std::vector<iovec> pieces;
            const size_t step = random() % 50 == 0 ? 16 : 4096;
            for (size_t at = 0; at < bytes.size();) {
                size_t n = std::min<size_t>(1 + random() % step, bytes.size() - at);
                pieces.push_back({bytes.data() + at, n});
                at += n;
            }
            return pieces;
        };
        switch (random() % 8) {
            case 0:
            case 1: {
                Bytes data = random_bytes(random, length);
                overlay.write(offset, data);
                std::copy(data.begin(), data.end(), in_model);
                break;
            }
            case 2: {
                Bytes data = random_bytes(random, length);
                overlay.writev(offset, pieces_of(data));
                std::copy(data.begin(), data.end(), in_model);
                break;
            }
            case 3:
                overlay.write_zeroes(offset, length, random() % 2 == 0);
                std::fill_n(in_model, length, std::byte{0});
                break;
            case 4: {  // a discard may zero or keep, but nothing beside it changes
                Bytes old(in_model, in_model + static_cast<std::ptrdiff_t>(length));
                overlay.discard(offset, length);
                Bytes now(length);
                overlay.read(offset, now);
                for (size_t j = 0; j < length; ++j) ASSERT_TRUE(now[j] == old[j] || now[j] == std::byte{0});
                std::copy(now.begin(), now.end(), in_model);
                break;
            }
            case 5: {
                auto extents = overlay.extents(offset, length);
                uint64_t at = offset;
                for (size_t j = 0; j < extents.size(); ++j) {
                    ASSERT_EQ(extents[j].offset, at);
                    ASSERT_GT(extents[j].length, 0u);
                    ASSERT_TRUE(j == 0 || extents[j].kind != extents[j - 1].kind);
                    if (extents[j].kind != ExtentKind::kData) {
                        for (uint64_t k = 0; k < extents[j].length; ++k)
                            ASSERT_EQ(model[at + k], std::byte{0});
                    }
                    at += extents[j].length;
                }
                ASSERT_EQ(at, offset + length);
                break;
            }
            default: {
                Bytes out(length);
                if (random() % 2 == 0) {
                    overlay.read(offset, out);
                } else {
                    overlay.readv(offset, pieces_of(out));
                }
                ASSERT_TRUE(std::equal(out.begin(), out.end(), in_model)) << "operation " << i;
            }
        }
    }
    EXPECT_EQ(apply_changes(*store, before), model);
}

TEST(Overlay, DoesWhatAnArrayDoes) {
    differential(1 << 18, 1 << 20, 30'000, 1);
    differential((1 << 18) + 1000, 1 << 16, 30'000, 2);
    differential(100'001, 0, 20'000, 3);
    differential(4096 * 33, 4096 * 7, 20'000, 4);
    differential(511, 1 << 20, 2'000, 5);
}

TEST(Overlay, AHugeDeviceCostsWhatIsTouched) {
    TempDir dir;
    const uint64_t size = uint64_t{2} << 40;
    std::string path = dir.sparse("huge", size);
    auto store = make_store(size);
    Overlay overlay(std::make_unique<RawDevice>(open_file(path, O_RDONLY), true, path), store);
    Bytes data(10'000, std::byte{7}), out(10'000);
    overlay.write(size - 10'000, data);
    overlay.write((uint64_t{1} << 40) + 77, data);
    overlay.read(size - 10'000, out);
    EXPECT_EQ(out, data);
    struct stat st;
    ASSERT_EQ(::fstat(store->memory_fd(), &st), 0);
    EXPECT_LT(st.st_blocks * 512, 1 << 20);
    int runs = 0;
    uint64_t bytes = 0;
    for (auto run = store->next_changed(0); run; run = store->next_changed(run->end())) {
        ++runs;
        bytes += run->length;
    }
    EXPECT_EQ(runs, 2);
    EXPECT_EQ(bytes, 3 * 4096u + 3 * 4096u);
    EXPECT_TRUE(make_store(size)->empty());
}

// However they come: in pieces, in a part of what is written, over data.
TEST(Overlay, ZerosTakeNoRoom) {
    using State = OverlayStore::State;
    constexpr uint64_t kSize = 20 * 4096 + 100;
    auto store = make_store(kSize);
    Overlay overlay(std::make_unique<MemoryDevice>(Bytes(kSize, std::byte{9})), store);
    Bytes bytes(12 * 4096, std::byte{1});
    std::fill_n(bytes.begin() + 2 * 4096, 3 * 4096 + 50, std::byte{0});
    std::fill_n(bytes.begin() + 8 * 4096, 4 * 4096, std::byte{0});
    const std::span<const std::byte> all(bytes);
    const iovec pieces[] = {to_iovec(all.first(3000)), to_iovec(all.subspan(3000, 20'000)),
                            to_iovec(all.subspan(23'000))};
    overlay.writev(4096, pieces);
    auto state = [&](uint64_t block) { return store->run_at(block * 4096, kSize).state; };
    const State expected[] = {State::kLower, State::kMemory, State::kMemory, State::kZero,   State::kZero,
                              State::kZero,  State::kMemory, State::kMemory, State::kMemory, State::kZero,
                              State::kZero,  State::kZero,   State::kZero,   State::kLower};
    for (size_t i = 0; i < std::size(expected); ++i) EXPECT_EQ(state(i), expected[i]) << i;
    Bytes out(bytes.size());
    overlay.read(4096, out);
    EXPECT_EQ(out, bytes);
    overlay.write(0, Bytes(kSize));
    EXPECT_EQ(store->run_at(0, kSize).state, State::kZero);
    EXPECT_EQ(store->run_at(0, kSize).length, kSize);
}

TEST(Overlay, SpillsWhenMemoryIsUsedUpAndGivesMemoryBack) {
    auto store = make_store(1 << 20, 8 * 4096);
    Overlay overlay(std::make_unique<MemoryDevice>(1 << 20), store);
    overlay.write(0, Bytes(10 * 4096, std::byte{1}));
    EXPECT_EQ(store->run_at(0, 1 << 20).length, 8 * 4096u);
    EXPECT_EQ(store->run_at(8 * 4096, 1 << 20).state, OverlayStore::State::kSpill);
    overlay.discard(0, 4 * 4096);
    overlay.write(65536, Bytes(5 * 4096, std::byte{2}));
    EXPECT_EQ(store->run_at(65536, 1 << 20).state, OverlayStore::State::kMemory);
    EXPECT_EQ(store->run_at(65536, 1 << 20).length, 4 * 4096u);
}

TEST(Overlay, AnotherProcessSeesTheSameStore) {
    auto store = make_store(100'000);
    OverlayStore other(Fd(::dup(store->memory_fd())), Fd(::dup(store->spill_fd())), 100'000);
    Overlay overlay(std::make_unique<MemoryDevice>(100'000), store);
    overlay.write(5000, Bytes(3, std::byte{9}));
    auto run = other.next_changed(0);
    ASSERT_TRUE(run);
    EXPECT_EQ(run->offset, 4096u);
    EXPECT_EQ(run->length, 4096u);
    expect_error(ErrorKind::kInternal, "does not fit",
                 [&] { OverlayStore(Fd(::dup(store->memory_fd())), Fd(::dup(store->spill_fd())), 200'000); });
}

// What a subverted writer can do to the library that reads its store afterwards.
TEST(Overlay, AHostileWriterCannotLeadTheReaderAstray) {
    const uint64_t size = 4096 * 5 + 100;
    auto store = make_store(size);
    const off_t map = 4096 * 6 + 4096;
    EXPECT_EQ(::ftruncate(store->memory_fd(), 0), -1);
    EXPECT_EQ(::ftruncate(store->memory_fd(), 1 << 30), -1);
    Bytes all(4096, std::byte{0xff});  // every bit of header and map, also those past the last block
    ASSERT_EQ(::pwrite(store->memory_fd(), all.data(), all.size(), map - 4096), 4096);
    ASSERT_EQ(::pwrite(store->memory_fd(), all.data(), all.size(), map), 4096);
    auto run = store->next_changed(0);
    ASSERT_TRUE(run);
    EXPECT_EQ(run->state, OverlayStore::State::kZero);
    EXPECT_EQ(run->end(), size);
    EXPECT_FALSE(store->next_changed(run->end()));
    std::fill(all.begin(), all.end(), std::byte{0xaa});  // spilled, it says, to a file that is empty
    ASSERT_EQ(::pwrite(store->memory_fd(), all.data(), all.size(), map), 4096);
    expect_error(ErrorKind::kCorrupt, "became shorter", [&] { apply_changes(*store, Bytes(size)); });
}

TEST(Overlay, NoRoomToSpillIsNoSpace) {
    // A file size limit stands in for a full file system.
    auto store = make_store(1 << 20, 0);
    Overlay overlay(std::make_unique<MemoryDevice>(Bytes(1 << 20, std::byte{5})), store);
    rlimit old, tight;
    ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &old), 0);
    tight = old;
    tight.rlim_cur = 65536;
    auto handler = std::signal(SIGXFSZ, SIG_IGN);
    ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &tight), 0);
    expect_error(ErrorKind::kNoSpace, "make room", [&] { overlay.write(80'000, Bytes(10, std::byte{1})); });
    ::setrlimit(RLIMIT_FSIZE, &old);
    std::signal(SIGXFSZ, handler);
    Bytes out(10);
    overlay.read(80'000, out);
    EXPECT_EQ(out, Bytes(10, std::byte{5}));
    EXPECT_TRUE(store->empty());
}

TEST(Overlay, TheSpillFileHasNoName) {
    TempDir dir;
    auto store = OverlayStore::create(1 << 20, {0, {dir.path()}});
    struct stat st;
    ASSERT_EQ(::fstat(store.spill_fd(), &st), 0);
    EXPECT_EQ(st.st_nlink, 0u);
    EXPECT_EQ(st.st_mode & 0777, 0600u);
    struct stat in_dir;
    ASSERT_EQ(::stat(dir.path().c_str(), &in_dir), 0);
    EXPECT_EQ(st.st_dev, in_dir.st_dev);
    EXPECT_TRUE(std::filesystem::is_empty(dir.path()));
    // A place that can't take it is passed over.
    OverlayStore::create(1 << 20, {0, {dir.file("none")}});
}

}  // namespace
}  // namespace inspect
