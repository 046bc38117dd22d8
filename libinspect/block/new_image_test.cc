// SPDX-License-Identifier: LGPL-2.1-or-later
#include <sys/stat.h>

#include <random>

#include <inspect/image.h>

#include "base/temp_dir_for_test.h"
#include "block/qcow2/create.h"
#include "block/qcow2/qcow2.h"
#include "block/raw.h"

namespace inspect {
namespace {

TEST(NewImage, CopiesBytesAndHoles) {
    TempDir dir;
    std::mt19937_64 random(5);
    const std::string from = dir.sparse("from", (64 << 20) + 700);
    {
        RawDevice device(open_file(from, O_RDWR), false, from);
        device.write(5 << 20, random_bytes(random, 3 << 20));
        device.write(64 << 20, random_bytes(random, 700));
    }
    ::chmod(from.c_str(), 0640);
    const std::string to = dir.file("to");
    uint64_t last = 0;
    {
        NewImage image(to);
        image.copy({.path = from}, [&](uint64_t done, uint64_t) { last = done; });
        EXPECT_FALSE(std::filesystem::exists(to));
        image.publish();
    }
    EXPECT_LE(last, 4u << 20);  // nothing at all where blocks are shared
    EXPECT_EQ(read_file(to), read_file(from));
    struct stat status;
    ASSERT_EQ(::stat(to.c_str(), &status), 0);
    EXPECT_LT(status.st_blocks * 512, 8 << 20);
    EXPECT_EQ(status.st_mode & 07, 0u);
    expect_error(ErrorKind::kDenied, "is there already", [&] { NewImage again(to); });
    NewImage other(dir.file("other"));
    expect_error(ErrorKind::kNotFound, "missing", [&] { other.copy({.path = dir.file("missing")}, {}); });
    expect_error(ErrorKind::kCancelled, "enough", [&] {
        other.copy({.path = from}, [](uint64_t, uint64_t) { throw Error(ErrorKind::kCancelled, "enough"); });
        throw Error(ErrorKind::kCancelled, "enough");  // where blocks are shared
    });
}

TEST(NewImage, IsEmptyAgainAfterEachTry) {
    TempDir dir;
    const std::string name = dir.write("image", Bytes(5));
    NewImage image(name, true);
    image.create("qcow2", 1 << 20);
    image.create("raw", 2 << 20);
    expect_error(ErrorKind::kUsage, "can't be made", [&] { image.create("raw", 100); });
    image.create("raw", 2 << 20);
    image.publish();
    EXPECT_EQ(read_file(name), Bytes(2 << 20));
}

// A copy must neither share its data with the image nor stand on something else.
TEST(NewImage, CopyStandsOnWhatTheImageStandsOn) {
    TempDir dir;
    std::filesystem::create_directory(dir.file("elsewhere"));
    dir.sparse("base", 1 << 20);
    auto make = [&](const std::string& name, const std::string& backing) {
        const std::string path = dir.write(name, {});
        RawDevice file(open_file(path, O_RDWR), false, path);
        Qcow2CreateOptions options;
        options.size = 1 << 20;
        options.backing_name = backing;
        options.backing_format = "raw";
        create_qcow2(file, options);
        return DiskSpec{.path = path};
    };
    NewImage beside(dir.file("beside"));
    NewImage far(dir.file("elsewhere/far"));
    const DiskSpec relative = make("relative", "base");
    beside.copy(relative, {});
    expect_error(ErrorKind::kUnsupported, "it stands on 'base'", [&] { far.copy(relative, {}); });
    DiskSpec as_raw = relative;
    as_raw.format = "raw";
    far.copy(as_raw, {});
    far.copy(make("absolute", dir.file("base")), {});

    // The bit of the header for data in another file.
    const DiskSpec external = make("external", dir.file("base"));
    {
        RawDevice file(open_file(external.path, O_RDWR), false, external.path);
        Bytes bits(8);
        file.read(72, bits);
        bits[7] |= std::byte{4};
        file.write(72, bits);
    }
    expect_error(ErrorKind::kUnsupported, "data are in a file of their own",
                 [&] { beside.copy(external, {}); });
}

}  // namespace
}  // namespace inspect
