// SPDX-License-Identifier: LGPL-2.1-or-later
#include "block/raw.h"

#include <sys/stat.h>

#include "base/temp_dir_for_test.h"

namespace inspect {
namespace {

RawDevice open_raw(const std::string& path, bool read_only = false) {
    return RawDevice(open_file(path, read_only ? O_RDONLY : O_RDWR), read_only, path);
}

TEST(RawDevice, ReadsWhatWasWrittenInAnyPieces) {
    TempDir dir;
    std::mt19937_64 random(1);
    RawDevice device = open_raw(dir.write("image", random_bytes(random, 100'003)));
    EXPECT_EQ(device.size(), 100'003u);
    Bytes model = read_file(dir.file("image"));
    for (int round = 0; round < 300; ++round) {
        uint64_t offset = random() % model.size();
        Bytes data = random_bytes(random, random() % (model.size() - offset + 1));
        std::vector<iovec> pieces;  // more of them than one system call takes
        for (size_t at = 0; at < data.size();) {
            size_t n = std::min<size_t>(random() % 64, data.size() - at);
            pieces.push_back({data.data() + at, n});
            at += n;
        }
        if (round % 2 == 0) {
            device.writev(offset, pieces);
            std::copy(data.begin(), data.end(), model.begin() + static_cast<std::ptrdiff_t>(offset));
        } else {
            device.readv(offset, pieces);
            ASSERT_TRUE(
                std::equal(data.begin(), data.end(), model.begin() + static_cast<std::ptrdiff_t>(offset)));
        }
    }
    device.flush();
    EXPECT_EQ(read_file(dir.file("image")), model);
}

TEST(RawDevice, ZeroesAndDiscardsLeaveHoles) {
    TempDir dir;
    RawDevice device = open_raw(dir.write("image", Bytes(1 << 20, std::byte{0xee})));
    device.write_zeroes(4096, 65536, true);
    device.discard(131072, 65536);
    device.write_zeroes(300'001, 5, false);
    Bytes expected(1 << 20, std::byte{0xee});
    std::fill_n(expected.begin() + 4096, 65536, std::byte{0});
    std::fill_n(expected.begin() + 131072, 65536, std::byte{0});
    std::fill_n(expected.begin() + 300'001, 5, std::byte{0});
    EXPECT_EQ(read_file(dir.file("image")), expected);
    EXPECT_EQ(std::filesystem::file_size(dir.file("image")), 1u << 20);
    auto extents = device.extents(0, device.size());
    ASSERT_EQ(extents.size(), 5u);
    EXPECT_EQ(extents[1].kind, ExtentKind::kHole);
    EXPECT_EQ(extents[1].offset, 4096u);
    EXPECT_EQ(extents[1].length, 65536u);
    EXPECT_EQ(extents[4].offset + extents[4].length, device.size());
    extents = device.extents(5000, 100);
    ASSERT_EQ(extents.size(), 1u);
    EXPECT_EQ(extents[0].kind, ExtentKind::kHole);
    EXPECT_EQ(extents[0].length, 100u);
}

TEST(RawDevice, AFileThatShrinksIsAnErrorAndNotZeros) {
    TempDir dir;
    RawDevice device = open_raw(dir.write("image", Bytes(8192, std::byte{1})));
    std::filesystem::resize_file(dir.file("image"), 5000);
    Bytes out(4096);
    device.read(0, out);
    expect_error(ErrorKind::kCorrupt, "became shorter", [&] { device.read(4096, out); });
}

// Past the page cache: any offset and length, and the file's odd end.
TEST(RawDevice, DirectTransfersNeedNoAlignment) {
    std::mt19937_64 random(5);
    TempDir dir;
    Bytes model = random_bytes(random, 3 * 4096 + 700);
    const std::string path = dir.write("image", model);
    const int fd = ::open(path.c_str(), O_RDWR | O_DIRECT | O_CLOEXEC);
    if (fd < 0) GTEST_SKIP() << "no O_DIRECT on this file system";
    RawDevice device(Fd(fd), false, path);
    for (int i = 0; i < 300; ++i) {
        const uint64_t offset = random() % model.size();
        const uint64_t length = 1 + random() % (model.size() - offset);
        if (random() % 2 == 0) {
            const Bytes data = random_bytes(random, length);
            device.write(offset, data);
            std::copy(data.begin(), data.end(), model.begin() + static_cast<std::ptrdiff_t>(offset));
        } else {
            Bytes out(length);
            device.read(offset, out);
            ASSERT_TRUE(
                std::equal(out.begin(), out.end(), model.begin() + static_cast<std::ptrdiff_t>(offset)));
        }
    }
    EXPECT_EQ(read_file(path), model);
}

TEST(RawDevice, IsResized) {
    TempDir dir;
    RawDevice device = open_raw(dir.write("image", Bytes(1000, std::byte{1})));
    device.resize(5000);
    EXPECT_EQ(device.size(), 5000u);
    Bytes out(4000);
    device.read(1000, out);
    EXPECT_EQ(out, Bytes(4000));
    device.resize(10);
    EXPECT_EQ(std::filesystem::file_size(dir.file("image")), 10u);
    expect_error(ErrorKind::kUsage, "offset 8", [&] { device.read(8, std::span(out).first(4)); });
    expect_error(ErrorKind::kDenied, "read-only",
                 [&] { open_raw(dir.write("other", Bytes(1000)), true).resize(1); });
}

TEST(RawDevice, StaysWithinItsSizeAndItsRights) {
    TempDir dir;
    RawDevice device = open_raw(dir.write("image", Bytes(1000)), true);
    Bytes bytes(10);
    expect_error(ErrorKind::kUsage, "offset 995", [&] { device.read(995, bytes); });
    expect_error(ErrorKind::kUsage, "", [&] { device.read(UINT64_MAX - 5, bytes); });
    expect_error(ErrorKind::kUsage, "", [&] { device.extents(0, 1001); });
    expect_error(ErrorKind::kDenied, "read-only", [&] { device.write(0, bytes); });
    expect_error(ErrorKind::kDenied, "read-only", [&] { device.discard(0, 10); });
    expect_error(ErrorKind::kDenied, "read-only", [&] { device.write_zeroes(0, 10, true); });
    ASSERT_EQ(::mkfifo(dir.file("fifo").c_str(), 0600), 0);
    expect_error(ErrorKind::kUnsupported, "neither a regular file nor",
                 [&] { RawDevice(open_file(dir.file("fifo"), O_RDWR), false, "fifo"); });
}

}  // namespace
}  // namespace inspect
