// SPDX-License-Identifier: LGPL-2.1-or-later
#include "block/sparse_copy.h"

#include <sys/stat.h>

#include "base/temp_dir_for_test.h"
#include "block/memory_device.h"
#include "block/overlay.h"
#include "block/qcow2/qcow2_for_test.h"

namespace inspect {
namespace {

using State = OverlayStore::State;

constexpr uint64_t kUnit = 64 << 10;

TEST(FindZeros, WholeUnitsThatAreZerosInTheEnd) {
    // Random data but for: unit 1, all zeros; the second half of unit 2; unit 4 but for its first block.
    constexpr uint64_t kSize = 6 * kUnit + 700;
    std::mt19937_64 random(1);
    Bytes bytes = random_bytes(random, kSize);
    auto clear = [&](uint64_t from, uint64_t to) {
        std::fill(bytes.begin() + static_cast<ptrdiff_t>(from), bytes.begin() + static_cast<ptrdiff_t>(to),
                  std::byte{0});
    };
    clear(kUnit, 2 * kUnit);
    clear(2 * kUnit + kUnit / 2, 3 * kUnit);
    clear(4 * kUnit + 4096, 5 * kUnit);
    clear(6 * kUnit, kSize);
    auto store = std::make_shared<OverlayStore>(OverlayStore::create(kSize, {}));
    Bytes wanted;
    {
        Overlay overlay(std::make_unique<MemoryDevice>(bytes), store);
        overlay.discard(4 * kUnit, 4096);                           // with what follows a whole unit
        overlay.write(5 * kUnit + 100, Bytes(5000, std::byte{3}));  // a change that isn't zeros
        wanted.resize(kSize);
        overlay.read(0, wanted);
    }
    MemoryDevice image(bytes);
    int asked = 0;
    find_zeros(image, *store, kUnit, [&] { ++asked; });
    EXPECT_GT(asked, 0);
    auto state = [&](uint64_t unit) { return store->run_at(unit * kUnit, (unit + 1) * kUnit).state; };
    EXPECT_EQ(state(0), State::kLower);
    EXPECT_EQ(state(1), State::kZero);
    EXPECT_EQ(state(2), State::kLower);
    EXPECT_EQ(state(3), State::kLower);
    EXPECT_EQ(state(4), State::kZero);
    EXPECT_EQ(store->run_at(4 * kUnit, kSize).length, kUnit);
    EXPECT_EQ(store->run_at(6 * kUnit, kSize).state, State::kZero);
    Overlay overlay(std::make_unique<MemoryDevice>(bytes), store);
    Bytes now(kSize);
    overlay.read(0, now);
    EXPECT_EQ(now, wanted);
    expect_error(ErrorKind::kUsage, "whole blocks", [&] { find_zeros(image, *store, 1000, {}); });
}

class SparseCopyTest : public ::testing::Test {
  protected:
    SparseCopyTest() {
        std::mt19937_64 random(2);
        bytes_.resize((20 << 20) + 512 * 3);
        for (const uint64_t at : {uint64_t{0}, uint64_t{3} << 20, (uint64_t{9} << 20) + 12'345}) {
            const Bytes piece = random_bytes(random, 300'000);
            std::copy(piece.begin(), piece.end(), bytes_.begin() + static_cast<ptrdiff_t>(at));
        }
        std::fill(bytes_.end() - 600, bytes_.end(), std::byte{0x41});
        std::fill_n(bytes_.begin() + (15 << 20), 1 << 20, std::byte{'c'});
    }
    uint64_t allocated(const std::string& path) const {
        struct stat status = {};
        EXPECT_EQ(::stat(path.c_str(), &status), 0);
        return static_cast<uint64_t>(status.st_blocks) * 512;
    }
    Bytes contents_of_qcow2(const std::string& path) const {
        auto file = open_raw_file(path, false);
        const Qcow2Header header = Qcow2Header::parse(*file);
        Qcow2Device disk(header, {std::move(file), nullptr, nullptr}, {.read_only = true, .snapshot = {}});
        Bytes contents(disk.size());
        disk.read(0, contents);
        return contents;
    }

    TempDir dir_;
    Bytes bytes_;
};

TEST_F(SparseCopyTest, RawHasHolesForZeros) {
    MemoryDevice from(bytes_);
    uint64_t last = 0;
    sparse_copy(from, dir_.file("raw"), {}, [&](uint64_t done) { last = done; });
    EXPECT_EQ(last, bytes_.size());
    EXPECT_EQ(read_file(dir_.file("raw")), bytes_);
    EXPECT_LT(allocated(dir_.file("raw")), 3u << 20);
}

TEST_F(SparseCopyTest, Qcow2OfEveryKind) {
    MemoryDevice from(bytes_);
    int number = 0;
    for (const uint32_t cluster_bits : {9u, 12u, 16u, 21u}) {
        for (const std::optional<Qcow2Compression> compression :
             {std::optional<Qcow2Compression>(), std::optional(Qcow2Compression::kZlib),
              std::optional(Qcow2Compression::kZstd)}) {
            const std::string path = dir_.file("image" + std::to_string(number++));
            sparse_copy(from, path,
                        {.format = "qcow2", .compression = compression, .cluster_bits = cluster_bits}, {});
            EXPECT_EQ(contents_of_qcow2(path), bytes_) << path;
            // Three random pieces, whatever they are made of, the compressible one and the tail.
            EXPECT_LT(allocated(path), (compression ? 10u : 16u) << 20) << path;
        }
    }
}

TEST_F(SparseCopyTest, NothingIsLeftWhenItFails) {
    MemoryDevice from(bytes_);
    const std::string path = dir_.file("copy");
    struct Stopped {};
    EXPECT_THROW(sparse_copy(from, path, {},
                             [](uint64_t done) {
                                 if (done > 5 << 20) throw Stopped();
                             }),
                 Stopped);
    EXPECT_TRUE(std::filesystem::is_empty(dir_.path()));
    expect_error(ErrorKind::kUnsupported, "vmdk", [&] { sparse_copy(from, path, {.format = "vmdk"}, {}); });
    expect_error(ErrorKind::kUsage, "compressed", [&] {
        sparse_copy(from, path, {.format = "raw", .compression = Qcow2Compression::kZlib}, {});
    });
    dir_.write("copy", {std::byte{1}});
    expect_error(ErrorKind::kDenied, "is there already", [&] { sparse_copy(from, path, {}, {}); });
    EXPECT_EQ(read_file(path).size(), 1u);
}

}  // namespace
}  // namespace inspect
