// SPDX-License-Identifier: LGPL-2.1-or-later
//
// The power is cut at every operation on the file in turn; what was not flushed is lost, kept or torn. What
// is found then must be a sound image (clusters may be leaked) in which every sector has what was flushed
// last or something that was written to it since.
#include <cstdlib>
#include <set>

#include "block/faulty.h"
#include "block/qcow2/qcow2_for_test.h"

namespace inspect {
namespace {

constexpr uint64_t kSector = 512;

// What each sector may have: the value of its every byte. The first is the one that is there without a crash.
class Model {
  public:
    explicit Model(uint64_t size) : now_(size / kSector), possible_(size / kSector, {0}) {}

    uint64_t sectors() const { return now_.size(); }
    void write(uint64_t sector, uint64_t count, uint8_t value) {
        for (uint64_t i = sector; i < sector + count; ++i) {
            now_[i] = value;
            possible_[i].insert(value);
        }
    }
    void flushed() {
        for (size_t i = 0; i < now_.size(); ++i) possible_[i] = {now_[i]};
    }
    void resize(uint64_t sectors) {  // and flushed
        now_.resize(sectors);
        possible_.resize(sectors);
        flushed();
    }
    bool allows(uint64_t sector, uint8_t value) const { return possible_[sector].contains(value); }
    uint8_t now(uint64_t sector) const { return now_[sector]; }

  private:
    std::vector<uint8_t> now_;
    std::vector<std::set<uint8_t>> possible_;
};

struct Geometry {
    Qcow2CreateOptions options;
    bool backing = false;
    bool snapshot = false;  // there is one, so everything is shared at first
};

Bytes backing_contents() { return Bytes(40 * 1024, std::byte{0xbb}); }

// Does the same things every time, until the power is cut.
void work(Qcow2Device& device, Model& model, uint64_t seed) {
    std::mt19937_64 random(seed);
    for (int i = 0; i < 24; ++i) {
        const uint64_t sector = random() % model.sectors();
        const uint64_t count = 1 + random() % std::min<uint64_t>(model.sectors() - sector, 40);
        const auto value = static_cast<uint8_t>(1 + random() % 255);
        const uint64_t offset = sector * kSector, length = count * kSector;
        switch (random() % 8) {
            case 0:
            case 1:
            case 2:
                model.write(sector, count, value);  // first: a cut may come at any time in it
                device.write(offset, Bytes(length, static_cast<std::byte>(value)));
                break;
            case 3:
                model.write(sector, count, 0);
                device.write_zeroes(offset, length, random() % 2 == 0);
                break;
            case 4: {
                const uint64_t cluster = device.header().cluster_size();
                const uint64_t begin = (offset + cluster - 1) / cluster * cluster;
                const uint64_t end = (offset + length) / cluster * cluster;
                if (begin >= end) break;
                if (device.header().version < 3 && device.header().backing_name) break;
                model.write(begin / kSector, (end - begin) / kSector, 0);
                device.discard(begin, end - begin);
                break;
            }
            case 5: {
                const uint64_t cluster = device.header().cluster_size();
                const uint64_t begin = offset / cluster * cluster;
                const uint64_t size = std::min(cluster, device.size() - begin);
                model.write(begin / kSector, size / kSector, value);
                device.write_compressed(begin, Bytes(size, static_cast<std::byte>(value)));
                break;
            }
            default:
                device.flush();
                model.flushed();
        }
    }
    device.flush();
    model.flushed();
}

void cut_everywhere(const Geometry& geometry, uint64_t seed) {
    TempDir dir;
    // The image to begin with is made without faults, and through QEMU if it is to have a snapshot.
    Model initial(geometry.options.size);
    const Bytes backing = backing_contents();
    const auto open_backing = [&]() -> std::unique_ptr<BlockDevice> {
        if (!geometry.backing) return nullptr;
        return std::make_unique<MemoryDevice>(backing);
    };
    if (geometry.backing) {
        dir.write("base", backing);
        initial.write(0, std::min<uint64_t>(backing.size() / kSector, initial.sectors()), 0xbb);
    }
    const std::string path = dir.write("image", {});
    {
        auto file = open_raw_file(path, true);
        create_qcow2(*file, geometry.options);
        auto device = open_image(std::move(file), {.read_only = false}, open_backing());
        initial.write(3, 100, 7);
        device->write(3 * kSector, Bytes(100 * kSector, std::byte{7}));
    }
    if (geometry.snapshot) {
        ASSERT_EQ(shell("qemu-img snapshot -c before " + path), 0);
    }
    initial.flushed();
    const Bytes image = read_file(path);
    Bytes snapshot;
    if (geometry.snapshot) {
        snapshot = contents(*open_image(open_raw_file(path, false), {.snapshot = "before"}, open_backing()));
    }

    std::mt19937_64 random(seed);
    bool cut = true;
    for (uint64_t at = 0; cut; ++at) {
        FaultPlan plan, later;
        plan.cut_at(at);
        FaultyDevice file(image, plan);
        Model model = initial;
        cut = false;
        try {
            auto device =
                open_image(std::make_unique<BorrowedDevice>(file), {.read_only = false}, open_backing());
            work(*device, model, seed);
        } catch (const PowerCut&) {
            cut = true;
        }
        if (cut) {
            file.crash(random, later);
        } else {
            file.use(later);
        }
        SCOPED_TRACE("cut at " + std::to_string(at) + ", seed " + std::to_string(seed));
        auto device = open_image(std::make_unique<BorrowedDevice>(file), {}, open_backing());
        const Bytes found = contents(*device);
        for (uint64_t sector = 0; sector < model.sectors(); ++sector) {
            const auto value = static_cast<uint8_t>(found[sector * kSector]);
            ASSERT_TRUE(model.allows(sector, value)) << "sector " << sector << " has " << int{value}
                                                     << ", without a crash " << int{model.now(sector)};
            for (uint64_t i = 1; i < kSector; ++i) {
                ASSERT_EQ(found[sector * kSector + i], found[sector * kSector]) << "a torn sector " << sector;
            }
        }
        if (geometry.snapshot) {
            ASSERT_EQ(contents(*open_image(std::make_unique<BorrowedDevice>(file), {.snapshot = "before"},
                                           open_backing())),
                      snapshot);
        }
        // 0: sound; 3: sound, but clusters are leaked.
        dir.write("found", file.contents());
        const int verdict = shell("qemu-img check -f qcow2 " + dir.file("found"));
        ASSERT_TRUE(verdict == 0 || verdict == 3) << "qemu-img check says " << verdict;
        // Without a crash nothing is leaked.
        if (!cut) {
            ASSERT_EQ(verdict, 0);
        }
        // It can be written, too.
        auto again = open_image(std::make_unique<BorrowedDevice>(file), {.read_only = false}, open_backing());
        again->write(0, Bytes(model.sectors() * kSector, std::byte{0x55}));
        again->flush();
        ASSERT_EQ(contents(*again), Bytes(model.sectors() * kSector, std::byte{0x55}));
    }
}

// A round takes seconds, because QEMU is asked after every cut.
uint64_t rounds() {
    const char* value = std::getenv("INSP_TEST_QCOW2_ROUNDS");
    return value != nullptr ? std::strtoull(value, nullptr, 10) : 1;
}

Qcow2CreateOptions with(uint32_t cluster_bits, uint64_t size) {
    Qcow2CreateOptions options;
    options.size = size;
    options.cluster_bits = cluster_bits;
    return options;
}

TEST(Qcow2Crash, SmallClustersWithManyTables) {
    INSP_NEEDS_QEMU();
    Geometry geometry{with(9, 128 << 10)};
    geometry.options.refcount_bits = 64;
    for (uint64_t i = 0; i < rounds(); ++i) cut_everywhere(geometry, 1 + 100 * i);
}

TEST(Qcow2Crash, OverABackingFile) {
    INSP_NEEDS_QEMU();
    Geometry geometry{with(12, 128 << 10), true};
    geometry.options.backing_name = "base";
    geometry.options.backing_format = "raw";
    for (uint64_t i = 0; i < rounds(); ++i) cut_everywhere(geometry, 4 + 100 * i);
}

TEST(Qcow2Crash, WithASnapshot) {
    INSP_NEEDS_QEMU();
    Geometry geometry{with(10, 96 << 10), false, true};
    for (uint64_t i = 0; i < rounds(); ++i) cut_everywhere(geometry, 7 + 100 * i);
}

TEST(Qcow2Crash, Subclusters) {
    INSP_NEEDS_QEMU();
    Geometry geometry{with(14, 256 << 10), true, true};
    geometry.options.extended_l2 = true;
    geometry.options.backing_name = "base";
    geometry.options.backing_format = "raw";
    for (uint64_t i = 0; i < rounds(); ++i) cut_everywhere(geometry, 10 + 100 * i);
}

TEST(Qcow2Crash, Version2) {
    INSP_NEEDS_QEMU();
    Geometry geometry{with(9, 96 << 10), true};
    geometry.options.version = 2;
    geometry.options.backing_name = "base";
    geometry.options.backing_format = "raw";
    for (uint64_t i = 0; i < rounds(); ++i) cut_everywhere(geometry, 13 + 100 * i);
}

// Growing needs a new L1 table; a cut leaves the old size or the new one.
TEST(Qcow2Crash, Growing) {
    INSP_NEEDS_QEMU();
    MemoryDevice made(0);
    create_qcow2(made, with(9, 64 << 10));
    {
        auto device = open_image(std::make_unique<BorrowedDevice>(made), {.read_only = false});
        device->write(0, Bytes(64 << 10, std::byte{9}));
    }
    TempDir dir;
    std::mt19937_64 random(5);
    constexpr uint64_t kNewSize = 16 << 20;
    int old_size = 0, new_size = 0;
    bool cut = true;
    for (uint64_t at = 0; cut; ++at) {
        FaultPlan plan, later;
        plan.cut_at(at);
        FaultyDevice file(made.bytes(), plan);
        cut = false;
        try {
            auto device = open_image(std::make_unique<BorrowedDevice>(file), {.read_only = false});
            device->resize(kNewSize);
            device->write(kNewSize - 4096, Bytes(4096, std::byte{8}));
            device->flush();
        } catch (const PowerCut&) {
            cut = true;
        }
        file.crash(random, later);
        auto device = open_image(std::make_unique<BorrowedDevice>(file), {});
        const Bytes found = contents(*device);
        ASSERT_TRUE(found.size() == 64 << 10 || found.size() == kNewSize);
        ++(found.size() == kNewSize ? new_size : old_size);
        for (uint64_t i = 0; i < 64 << 10; ++i) ASSERT_EQ(found[i], std::byte{9});
        for (uint64_t i = 64 << 10; i + 4096 < found.size(); ++i) ASSERT_EQ(found[i], std::byte{0});
        dir.write("found", file.contents());
        const int verdict = shell("qemu-img check -f qcow2 " + dir.file("found"));
        ASSERT_TRUE(verdict == 0 || verdict == 3) << verdict << " after a cut at " << at;
    }
    EXPECT_GT(old_size, 3);
    EXPECT_GT(new_size, 1);
}

// A write that fails (the host's disk is full) leaves a device that goes on, and an image that is sound.
TEST(Qcow2Crash, FailedWritesLeaveItUsable) {
    INSP_NEEDS_QEMU();
    TempDir dir;
    MemoryDevice made(0);
    create_qcow2(made, with(9, 128 << 10));
    bool failed = true;
    for (uint64_t at = 0; failed; ++at) {
        FaultPlan plan;
        plan.fail_at(at);
        FaultyDevice file(made.bytes(), plan);
        failed = false;
        Bytes expected(128 << 10);
        auto device = open_image(std::make_unique<BorrowedDevice>(file), {.read_only = false});
        std::mt19937_64 random(3);
        bool lost = false;  // a failed flush is the end
        for (int i = 0; i < 12 && !lost; ++i) {
            const uint64_t offset = random() % 200 * 512, length = (1 + random() % 50) * 512;
            const Bytes data(length, static_cast<std::byte>(i + 1));
            for (int attempt = 0; attempt < 2; ++attempt) {
                try {
                    device->write(offset, data);
                    if (i % 4 == 3) device->flush();
                    break;
                } catch (const Error& error) {
                    failed = true;
                    lost = error.message().find("failed to flush before") != std::string::npos;
                }
            }
            std::copy(data.begin(), data.end(), expected.begin() + static_cast<std::ptrdiff_t>(offset));
        }
        if (!lost) {
            ASSERT_EQ(contents(*device), expected) << "failure at " << at;
        }
        device.reset();
        dir.write("found", file.contents());
        const int verdict = shell("qemu-img check -f qcow2 " + dir.file("found"));
        ASSERT_TRUE(verdict == 0 || verdict == 3) << verdict << " after a failure at " << at;
    }
}

}  // namespace
}  // namespace inspect
