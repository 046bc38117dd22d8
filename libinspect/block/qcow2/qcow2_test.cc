// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Single behaviours of the driver. That the contents are right in all geometries is tests/differential's
// business, that a crash does no harm crash_test.cc's.
#include "block/qcow2/qcow2.h"

#include <chrono>
#include <cstring>
#include <functional>

#include "block/qcow2/compression.h"
#include "block/qcow2/qcow2_for_test.h"

namespace inspect {
namespace {

using namespace qcow2_format;

std::string new_image(const TempDir& dir, const std::string& name, const Qcow2CreateOptions& options) {
    dir.write(name, {});
    create_qcow2(*open_raw_file(dir.file(name), true), options);
    return dir.file(name);
}

// Changes the header of an image in memory.
Bytes with_header(Bytes image, const std::function<void(Header&)>& change) {
    Header header;
    std::memcpy(&header, image.data(), sizeof header);
    change(header);
    std::memcpy(image.data(), &header, sizeof header);
    return image;
}

Bytes image_in_memory(const Qcow2CreateOptions& options, const std::function<void(Qcow2Device&)>& fill) {
    MemoryDevice file(0);
    create_qcow2(file, options);
    auto device = open_image(std::make_unique<BorrowedDevice>(file), {.read_only = false});
    fill(*device);
    device->flush();
    device.reset();
    return file.bytes();
}

std::unique_ptr<Qcow2Device> in_memory(Bytes image, bool writable = true) {
    return open_image(std::make_unique<MemoryDevice>(std::move(image)), {.read_only = !writable});
}

template <typename T>
T number_at(const Bytes& image, uint64_t offset) {
    T value;
    std::memcpy(&value, image.data() + offset, sizeof value);
    return value;
}

template <typename T>
void put_number(Bytes& image, uint64_t offset, T value) {
    std::memcpy(image.data() + offset, &value, sizeof value);
}

// Where the first cluster of the disk has its L2 entry.
uint64_t first_l2_entry(const Bytes& image) {
    const uint64_t l1 = number_at<be64>(image, offsetof(Header, l1_offset));
    return number_at<be64>(image, l1) & kOffsetMask;
}

TEST(Qcow2, MakesImagesThatQemuFindsSound) {
    INSP_NEEDS_QEMU();
    TempDir dir;
    for (uint32_t bits = 9; bits <= 21; ++bits) {
        for (uint32_t refcount_bits : {1u, 16u, 64u}) {
            Qcow2CreateOptions options;
            options.size = (uint64_t{8} << 20) + 512;
            options.cluster_bits = bits;
            options.refcount_bits = refcount_bits;
            const std::string path = new_image(dir, "image", options);
            EXPECT_EQ(shell("qemu-img check -f qcow2 " + path), 0) << bits << " " << refcount_bits;
            auto device = open_chain(path, true);
            device->preallocate();
            device.reset();
            EXPECT_EQ(shell("qemu-img check -f qcow2 " + path), 0) << bits << " " << refcount_bits;
        }
    }
    // An L1 table of 32 MiB in clusters of 512 bytes: many refcount blocks, and a table of several clusters.
    Qcow2CreateOptions options;
    options.size = uint64_t{128} << 30;
    options.cluster_bits = 9;
    EXPECT_EQ(shell("qemu-img check -f qcow2 " + new_image(dir, "large", options)), 0);
    options.size += 512;
    expect_error(ErrorKind::kUsage, "larger clusters", [&] { new_image(dir, "larger", options); });
}

TEST(Qcow2, OpensAChainOfATebibyteInNoTime) {
    TempDir dir;
    Qcow2CreateOptions options;
    options.size = uint64_t{1} << 40;
    for (int depth = 0; depth < 5; ++depth) {
        const std::string path = new_image(dir, "image" + std::to_string(depth), options);
        auto device = open_chain(path, true);
        device->write(static_cast<uint64_t>(depth) << 37, Bytes(4096, static_cast<std::byte>(depth + 1)));
        device->flush();
        options.backing_name = "image" + std::to_string(depth);
        options.backing_format = "qcow2";
    }
    std::vector<double> times;
    for (int i = 0; i < 21; ++i) {
        const auto start = std::chrono::steady_clock::now();
        auto device = open_chain(dir.file("image4"), false);
        times.push_back(
            std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count());
    }
    std::sort(times.begin(), times.end());
    RecordProperty("median_ms", std::to_string(times[times.size() / 2]));
    EXPECT_LT(times[times.size() / 2], 2.0);
    auto device = open_chain(dir.file("image4"), false);
    Bytes byte(1);
    device->read(uint64_t{3} << 37, byte);
    EXPECT_EQ(byte[0], std::byte{4});
    const std::vector<Extent> extents = device->extents(0, device->size());
    ASSERT_EQ(extents.size(), 10u);
    EXPECT_EQ(extents[0].kind, ExtentKind::kData);
    EXPECT_EQ(extents[0].length, 65536u);
    EXPECT_EQ(extents[1].kind, ExtentKind::kHole);
}

TEST(Qcow2, TellsDataZeroAndHole) {
    auto device = in_memory(image_in_memory({.size = 1 << 20}, [](Qcow2Device& d) {
        d.write(0, Bytes(70'000, std::byte{1}));
        d.write_zeroes(65536, 65536, true);
        d.write(300'000, Bytes(1, std::byte{1}));
    }));
    const std::vector<Extent> extents = device->extents(0, 1 << 20);
    ASSERT_EQ(extents.size(), 5u);
    const ExtentKind kinds[] = {ExtentKind::kData, ExtentKind::kZero, ExtentKind::kHole, ExtentKind::kData,
                                ExtentKind::kHole};
    const uint64_t offsets[] = {0, 65536, 131072, 262144, 327680};
    for (size_t i = 0; i < 5; ++i) {
        EXPECT_EQ(extents[i].kind, kinds[i]) << i;
        EXPECT_EQ(extents[i].offset, offsets[i]) << i;
    }
    EXPECT_EQ(device->extents(65536, 5).size(), 1u);
    EXPECT_TRUE(device->extents(65536, 0).empty());
}

TEST(Qcow2, SnapshotsAreListedAndOpened) {
    INSP_NEEDS_QEMU();
    TempDir dir;
    const std::string path = new_image(dir, "image", {.size = 1 << 20});
    open_chain(path, true)->write(0, Bytes(1 << 20, std::byte{1}));
    ASSERT_EQ(shell("qemu-img snapshot -c first " + path), 0);
    {
        auto device = open_chain(path, true);
        device->write(1000, Bytes(100'000, std::byte{2}));
        device->resize(2 << 20);
    }
    ASSERT_EQ(shell("qemu-img snapshot -c 1 " + path), 0);  // a name that is another's id
    {
        auto device = open_chain(path, true);
        device->discard(0, 1 << 20);
        device->flush();
        const std::vector<Qcow2Snapshot> snapshots = device->snapshots();
        ASSERT_EQ(snapshots.size(), 2u);
        EXPECT_EQ(snapshots[0].name, "first");
        EXPECT_EQ(snapshots[0].id, "1");
        EXPECT_EQ(snapshots[0].disk_size, 1u << 20);
        EXPECT_EQ(snapshots[1].disk_size, 2u << 20);
        EXPECT_GT(snapshots[1].seconds, 1'600'000'000u);
        EXPECT_EQ(contents(*device), Bytes(2 << 20));
    }
    EXPECT_EQ(contents(*open_chain(path, false, "first")), Bytes(1 << 20, std::byte{1}));
    EXPECT_EQ(contents(*open_chain(path, false, "1")), Bytes(1 << 20, std::byte{1}));
    auto second = open_chain(path, true, "2");
    EXPECT_TRUE(second->read_only());
    Bytes expected(2 << 20);
    std::fill_n(expected.begin(), 1 << 20, std::byte{1});
    std::fill_n(expected.begin() + 1000, 100'000, std::byte{2});
    EXPECT_EQ(contents(*second), expected);
    expect_error(ErrorKind::kNotFound, "'third'", [&] { open_chain(path, false, "third"); });
    EXPECT_EQ(shell("qemu-img check -f qcow2 " + path), 0);
}

TEST(Qcow2, WritingMarksBitmapsAndClearsWhatIsNotKnown) {
    INSP_NEEDS_QEMU();
    TempDir dir;
    const std::string path = new_image(dir, "image", {.size = 8 << 20});
    ASSERT_EQ(shell("qemu-img bitmap --add -g 65536 " + path + " changes"), 0);
    ASSERT_EQ(shell("qemu-img bitmap --add --disable " + path + " frozen"), 0);
    ASSERT_EQ(shell("qemu-io -f qcow2 -c 'write 65536 100000' -c 'write 4M 1' " + path), 0);
    {
        auto device = open_chain(path, false);
        const std::vector<Qcow2Bitmap> bitmaps = device->bitmaps();
        ASSERT_EQ(bitmaps.size(), 2u);
        EXPECT_EQ(bitmaps[0].name, "changes");
        EXPECT_EQ(bitmaps[0].granularity, 65536u);
        EXPECT_TRUE(bitmaps[0].usable);
        EXPECT_TRUE(bitmaps[0].enabled);
        EXPECT_FALSE(bitmaps[1].enabled);
        std::vector<std::pair<uint64_t, uint64_t>> ranges;
        device->for_each_dirty_range(bitmaps[0],
                                     [&](uint64_t at, uint64_t n) { ranges.emplace_back(at, n); });
        const std::vector<std::pair<uint64_t, uint64_t>> expected{{65536, 131072}, {4 << 20, 65536}};
        EXPECT_EQ(ranges, expected);
    }
    // A feature of tomorrow, which must not be left standing when the image is changed without it.
    Bytes image = with_header(read_file(path), [](Header& h) {
        h.autoclear_features = h.autoclear_features | (uint64_t{1} << 40);
        h.compatible_features = uint64_t{1} << 41;
    });
    dir.write("image", image);
    open_chain(path, true)->read(0, image);  // reading changes nothing
    EXPECT_EQ(Qcow2Header::parse(*open_raw_file(path, false)).autoclear_features, uint64_t{1} << 40 | 1);
    auto device = open_chain(path, true);
    device->write(0, Bytes(10, std::byte{1}));
    device->flush();
    device.reset();
    const Qcow2Header header = Qcow2Header::parse(*open_raw_file(path, false));
    EXPECT_EQ(header.autoclear_features, kAutoclearBitmaps);
    EXPECT_EQ(header.compatible_features, uint64_t{1} << 41);
    device = open_chain(path, false);
    const std::vector<Qcow2Bitmap> bitmaps = device->bitmaps();
    ASSERT_EQ(bitmaps.size(), 2u);
    EXPECT_TRUE(bitmaps[0].in_use);
    EXPECT_FALSE(bitmaps[0].usable);
    EXPECT_TRUE(bitmaps[1].usable);  // it never was to follow changes
    expect_error(ErrorKind::kUsage, "not to be believed",
                 [&] { device->for_each_dirty_range(bitmaps[0], [](uint64_t, uint64_t) {}); });
    EXPECT_EQ(shell("qemu-img check -f qcow2 " + path), 0);
}

TEST(Qcow2, KeepsHeaderExtensions) {
    TempDir dir;
    Bytes image = image_in_memory({.size = 1 << 20, .backing_name = {}}, [](Qcow2Device&) {});
    const uint64_t at = sizeof(Header);  // in front of the others
    Bytes extension(16);
    put_number<be32>(extension, 0, 0x12345678);
    put_number<be32>(extension, 4, 5);
    std::memcpy(extension.data() + 8, "hello", 5);
    std::copy_backward(image.begin() + at, image.begin() + 1000, image.begin() + 1016);
    std::copy(extension.begin(), extension.end(), image.begin() + at);
    MemoryDevice file(image);
    auto device = open_image(std::make_unique<BorrowedDevice>(file), {.read_only = false});
    device->write(0, Bytes(100, std::byte{1}));
    device->resize(4 << 20);
    device.reset();
    EXPECT_TRUE(std::equal(image.begin() + at, image.begin() + 65536, file.bytes().begin() + at));
}

TEST(Qcow2, RefusesToWriteDirtyImagesButReadsThem) {
    Bytes image =
        image_in_memory({.size = 1 << 20}, [](Qcow2Device& d) { d.write(0, Bytes(10, std::byte{3})); });
    image = with_header(image, [](Header& h) { h.incompatible_features = kIncompatibleDirty; });
    expect_error(ErrorKind::kUnsupported, "--repair", [&] { in_memory(image); });
    Bytes found(10);
    in_memory(image, false)->read(0, found);
    EXPECT_EQ(found, Bytes(10, std::byte{3}));
}

TEST(Qcow2, MetadataIsNeverWrittenOver) {
    const auto filled = [](Qcow2Device& d) { d.write(0, Bytes(300'000, std::byte{3})); };
    const Bytes good = image_in_memory({.size = 1 << 20}, filled);
    const uint64_t l2_entry = first_l2_entry(good);
    const Bytes data(512, std::byte{9});
    const auto refused = [&](const char* text, Bytes image, uint64_t offset) {
        MemoryDevice file(image);
        auto device = open_image(std::make_unique<BorrowedDevice>(file), {.read_only = false});
        expect_error(ErrorKind::kCorrupt, text, [&] { device->write(offset, data); });
        device.reset();
        // Refcounts may have been changed on the way, but no table was.
        EXPECT_TRUE(std::equal(image.begin(), image.begin() + 65536, file.bytes().begin()));
    };
    // A cluster's data is said to be in the header, in a table, in a cluster that is another's as well.
    const uint64_t l1 = number_at<be64>(good, offsetof(Header, l1_offset));
    for (const uint64_t host : {l1, uint64_t{65536}, l2_entry}) {
        Bytes image = good;
        put_number<be64>(image, l2_entry, host | kCopied);
        refused("which it is not", image, 0);
    }
    {  // the refcount of live data is 2
        Bytes image = good;
        const uint64_t table = number_at<be64>(image, offsetof(Header, refcount_table_offset));
        const uint64_t block = number_at<be64>(image, table);
        const uint64_t host = number_at<be64>(image, l2_entry) & kOffsetMask;
        put_number<be16>(image, block + host / 65536 * 2, 2);
        refused("which it is not", image, 0);
        // Tables that are counted as free are not handed out.
        image = good;
        put_number<be16>(image, block + l2_entry / 65536 * 2, 0);
        refused("", image, 500'000);
        // The same for all: the first free cluster is the header's.
        image = good;
        std::fill_n(image.begin() + static_cast<std::ptrdiff_t>(block), 65536, std::byte{0});
        refused("", image, 500'000);
    }
    {  // two entries of the L1 table, one L2 table
        Bytes image = image_in_memory({.size = 2 << 20, .cluster_bits = 12}, filled);
        const uint64_t table = number_at<be64>(image, offsetof(Header, l1_offset));
        Header header;
        std::memcpy(&header, image.data(), sizeof header);
        ASSERT_EQ(header.l1_entries, 1u);
        image = image_in_memory({.size = 4 << 20, .cluster_bits = 12}, filled);
        put_number<be64>(image, table + 8, number_at<be64>(image, table));
        auto device = in_memory(image);
        expect_error(ErrorKind::kCorrupt, "overlap", [&] { device->write(0, data); });
    }
}

TEST(Qcow2, TablesThatPointNowhereAreErrors) {
    const Bytes good =
        image_in_memory({.size = 1 << 20}, [](Qcow2Device& d) { d.write(0, Bytes(65536, std::byte{3})); });
    const uint64_t l2_entry = first_l2_entry(good);
    const uint64_t l1 = number_at<be64>(good, offsetof(Header, l1_offset));
    Bytes out(512);
    const auto refused = [&](const char* text, uint64_t where, uint64_t value) {
        Bytes image = good;
        put_number<be64>(image, where, value);
        auto device = in_memory(image);
        expect_error(ErrorKind::kCorrupt, text, [&] { device->read(0, out); });
        expect_error(ErrorKind::kCorrupt, "", [&] { device->write(0, out); });
    };
    refused("L2 table", l1, uint64_t{1} << 50 | kCopied);
    refused("L2 table", l1, 512 | kCopied);
    refused("cut short or damaged", l2_entry, uint64_t{1} << 50 | kCopied);
    refused("not aligned", l2_entry, (5 * 65536 + 512) | kCopied);
    refused("cut short or damaged", l2_entry, kCompressed | uint64_t{1} << 40);
}

TEST(Qcow2, AFileThatIsCutInACluster) {
    Bytes image =
        image_in_memory({.size = 1 << 20}, [](Qcow2Device& d) { d.write(0, Bytes(65536, std::byte{3})); });
    image.resize(image.size() - 1000);
    auto device = in_memory(image, false);
    Bytes out(4096);
    device->read(0, out);
    expect_error(ErrorKind::kCorrupt, "cut short", [&] { device->read(65536 - 4096, out); });
}

TEST(Qcow2, CompressedClusters) {
    INSP_NEEDS_QEMU();
    TempDir dir;
    std::mt19937_64 random(1);
    for (const auto kind : {Qcow2Compression::kZlib, Qcow2Compression::kZstd}) {
        Qcow2CreateOptions options;
        options.size = (3 << 20) + 512;
        options.compression = kind;
        const std::string path = new_image(dir, "image", options);
        Bytes expected(options.size);
        for (size_t i = 0; i < expected.size(); ++i) expected[i] = static_cast<std::byte>(i / 700);
        const Bytes noise = random_bytes(random, 200'000);
        std::copy(noise.begin(), noise.end(), expected.begin() + 400'000);
        auto device = open_chain(path, true);
        for (uint64_t at = 0; at < expected.size(); at += 65536) {
            device->write_compressed(
                at, std::span(expected).subspan(at, std::min<size_t>(65536, expected.size() - at)));
        }
        device->flush();
        EXPECT_EQ(contents(*device), expected);
        device.reset();
        EXPECT_LT(std::filesystem::file_size(path), 1u << 20);
        dir.write("raw", expected);
        EXPECT_EQ(shell("qemu-img compare -f qcow2 -F raw " + path + " " + dir.file("raw")), 0);
        EXPECT_EQ(shell("qemu-img check -f qcow2 " + path), 0);
    }
}

TEST(Qcow2, CompressedDataThatExpandsForEverIsCut) {
    // A hundred mebibytes of zeros in some kilobytes fill one cluster and are no trouble; too little is an
    // error.
    const Bytes zeros(100 << 20);
    Bytes packed(1 << 20), cluster(65536, std::byte{1});
    for (const auto kind : {Qcow2Compression::kZlib, Qcow2Compression::kZstd}) {
        const size_t length = compress_cluster(kind, zeros, packed);
        ASSERT_GT(length, 0u);
        decompress_cluster(kind, std::span(packed).first(length), cluster);
        EXPECT_EQ(cluster, Bytes(65536));
        const size_t small = compress_cluster(kind, std::span(zeros).first(1000), packed);
        expect_error(ErrorKind::kCorrupt, "can't be read",
                     [&] { decompress_cluster(kind, std::span(packed).first(small), cluster); });
        expect_error(ErrorKind::kCorrupt, "can't be read",
                     [&] { decompress_cluster(kind, Bytes(100, std::byte{0xff}), cluster); });
    }
}

TEST(Qcow2, WantsTheFilesThatTheHeaderNames) {
    MemoryDevice file(0);
    create_qcow2(file, {.size = 1 << 20, .backing_name = "b", .backing_format = "raw"});
    expect_error(ErrorKind::kUsage, "not opened",
                 [&] { open_image(std::make_unique<BorrowedDevice>(file), {}); });
    create_qcow2(file, {.size = 1 << 20});
    expect_error(ErrorKind::kUsage, "has none", [&] {
        open_image(std::make_unique<BorrowedDevice>(file), {}, std::make_unique<MemoryDevice>(512));
    });
}

TEST(Qcow2, RepeatedEditsDoNotGrowTheFile) {
    MemoryDevice file(0);
    create_qcow2(file, {.size = 8 << 20});
    uint64_t after_first = 0;
    for (int i = 0; i < 50; ++i) {
        auto device = open_image(std::make_unique<BorrowedDevice>(file), {.read_only = false});
        device->discard(0, 8 << 20);
        device->flush();
        device->write(0, Bytes(1 << 20, std::byte{1}));
        device->flush();
        if (i == 0) after_first = file.size();
    }
    EXPECT_LE(file.size(), after_first + 65536);
}

TEST(Qcow2, ResizeRefusesWhatCannotBe) {
    auto device = in_memory(image_in_memory({.size = 1 << 20, .cluster_bits = 9}, [](Qcow2Device&) {}));
    expect_error(ErrorKind::kUsage, "multiple of 512", [&] { device->resize(1000); });
    expect_error(ErrorKind::kUsage, "not 0", [&] { device->resize(0); });
    expect_error(ErrorKind::kUnsupported, "can't have", [&] { device->resize(uint64_t{1} << 40); });
    expect_error(ErrorKind::kUnsupported, "can't have", [&] { device->resize(uint64_t{1} << 63); });
    device->resize(512);
    EXPECT_EQ(device->size(), 512u);
}

}  // namespace
}  // namespace inspect
