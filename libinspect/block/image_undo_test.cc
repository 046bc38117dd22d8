// SPDX-License-Identifier: LGPL-2.1-or-later
//
// An Image that is written directly, and becomes what it was unless it is committed.
#include <inspect/image.h>

#include "base/temp_dir_for_test.h"
#include "block/image.h"
#include "block/image_for_test.h"

namespace inspect {
namespace {

constexpr ImageOptions kDirect{.writable = true, .write_mode = WriteMode::kDirect};

std::unique_ptr<BlockDevice> device_of(const Image& image) {
    return DiskNode::parse(image.node().encode()).open();
}

TEST(ImageUndo, TakesBackWhatIsNotCommitted) {
    TempDir dir;
    const Bytes before(100'000, std::byte{1});
    const std::string path = dir.write("image", before);
    {
        auto image = open_image(path, kDirect);
        EXPECT_FALSE(image->resizable());
        image->make_undoable({});
        EXPECT_TRUE(image->resizable());
        image->grow_session(200'192);
        auto disk = device_of(*image);
        EXPECT_EQ(disk->size(), 200'192u);
        disk->write(5000, Bytes(10'000, std::byte{2}));
        disk->write(150'000, Bytes(10, std::byte{2}));
        disk->flush();
        EXPECT_NE(read_file(path), before);
        EXPECT_EQ(files_in(dir), 2u);
    }
    EXPECT_EQ(read_file(path), before);
    EXPECT_EQ(files_in(dir), 1u);
}

// What is planned is planned on an overlay.
TEST(ImageUndo, IsNotTouchedInATrial) {
    TempDir dir;
    const Bytes before(100'000, std::byte{1});
    const std::string path = dir.write("image", before);
    auto image = open_image(path, kDirect);
    image->begin_trial();
    EXPECT_TRUE(image->resizable());
    serve(*image)->write(5000, Bytes(10'000, std::byte{2}));
    image->grow_session(200'192);
    EXPECT_EQ(image->session_size(), 200'192u);
    image->end_trial();
    EXPECT_EQ(image->session_size(), before.size());
    EXPECT_EQ(read_file(path), before);
    EXPECT_EQ(files_in(dir), 1u);
    image->make_undoable({});
    EXPECT_EQ(device_of(*image)->size(), before.size());
}

TEST(ImageUndo, GetsAnotherSizeAtTheCommit) {
    TempDir dir;
    const std::string path = dir.write("image", Bytes(100'000, std::byte{1}));
    for (const uint64_t size : {200'192u, 50'176u}) {
        auto image = open_image(path, kDirect);
        image->make_undoable({});
        if (size > image->size()) image->grow_session(size);
        auto disk = device_of(*image);
        disk->write(5000, Bytes(10, std::byte{2}));
        disk->flush();
        image->set_new_size(size);
        EXPECT_TRUE(image->commit());
        EXPECT_EQ(read_file(path).size(), size);
        EXPECT_EQ(read_file(path)[5000], std::byte{2});
        EXPECT_EQ(files_in(dir), 1u);
    }
}

// The image and its journal as a crash leaves them.
TEST(ImageUndo, WhoOpensItAfterACrashHasTheImageFromBefore) {
    for (const std::string format : {"raw", "qcow2"}) {
        TempDir dir;
        const std::string path = dir.file("image"), crashed = dir.file("crashed");
        create_image(path, format, 1 << 20);
        {
            auto image = open_image(path, kWriter, format);
            serve(*image)->write(64 << 10, Bytes(128 << 10, std::byte{1}));
            image->commit();
        }
        const Bytes disk_before = read_all(*open_image(path, kReader, format));
        const Bytes before = read_file(path);
        auto image = open_image(path, kDirect, format);
        RangeSet unused;
        unused.add(128 << 10, 64 << 10);
        image->make_undoable(unused);
        image->grow_session(3 << 20);
        const auto disk = device_of(*image);
        disk->write(0, Bytes(100'000, std::byte{2}));
        disk->write((2 << 20) + 5, Bytes(100'000, std::byte{3}));
        disk->write(130 << 10, Bytes(10, std::byte{4}));
        disk->discard(64 << 10, 64 << 10);
        disk->flush();
        for (const char* name : {"", ".insp-journal"})
            std::filesystem::copy_file(path + name, crashed + name);
        expect_error(ErrorKind::kDenied, "insp recover",
                     [&] { Image::open({.path = crashed, .format = format, .force_share = true}, kReader); });
        EXPECT_EQ(recover_image(crashed), RecoveryResult::kDiscarded);
        EXPECT_EQ(recover_image(crashed), RecoveryResult::kNothing);
        EXPECT_EQ(read_file(crashed).size(), before.size());
        Bytes disk_after = read_all(*open_image(crashed, kReader, format));
        ASSERT_EQ(disk_after.size(), disk_before.size());
        std::fill_n(disk_after.begin() + (130 << 10), 10, std::byte{1});  // which nobody needs
        EXPECT_TRUE(disk_after == disk_before) << format;
    }
}

TEST(ImageUndo, IsForLocalImagesThatAreWrittenDirectly) {
    TempDir dir;
    const std::string path = dir.write("image", Bytes(100'000, std::byte{1}));
    for (const ImageOptions& options : {kReader, kWriter})
        expect_error(ErrorKind::kUnsupported, "taken back",
                     [&] { open_image(path, options)->make_undoable({}); });
    EXPECT_EQ(files_in(dir), 1u);
}

}  // namespace
}  // namespace inspect
