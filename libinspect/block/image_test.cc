// SPDX-License-Identifier: LGPL-2.1-or-later
#include "block/image.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "block/format.h"
#include "block/overlay.h"
#include "block/raw.h"
#include "block/temp_dir_for_test.h"

namespace inspect {
namespace {

constexpr ImageOptions kWriter{.format = {}, .writable = true};

// What the VMM's process does: an Overlay over the descriptors.
std::unique_ptr<Overlay> serve(const Image& image) {
    auto below = std::make_unique<RawDevice>(Fd(::dup(image.fd())), true, image.path());
    auto store = std::make_shared<OverlayStore>(Fd(::dup(image.overlay().memory_fd())),
                                                Fd(::dup(image.overlay().spill_fd())), image.size());
    return std::make_unique<Overlay>(std::move(below), store);
}

Bytes read_all(const Image& image) {
    Bytes bytes(image.size());
    serve(image)->read(0, bytes);
    return bytes;
}

size_t files_in(const TempDir& dir) {
    return static_cast<size_t>(std::distance(std::filesystem::directory_iterator(dir.path()), {}));
}

TEST(Image, ChangesAreCommittedOrVanish) {
    TempDir dir;
    const Bytes before(100'000, std::byte{1});
    const std::string path = dir.write("image", before);
    {
        auto image = Image::open(path, kWriter);
        serve(*image)->write(5000, Bytes(10'000, std::byte{2}));
        EXPECT_EQ(read_file(path), before);
        EXPECT_EQ(files_in(dir), 1u);
    }
    EXPECT_EQ(read_file(path), before);
    auto image = Image::open(path, kWriter);
    EXPECT_EQ(image->size(), 100'000u);
    EXPECT_TRUE(image->format_was_detected());
    EXPECT_EQ(::fcntl(image->fd(), F_GETFL) & O_ACCMODE, O_RDONLY);
    serve(*image)->write(5000, Bytes(10'000, std::byte{2}));
    EXPECT_TRUE(image->commit());
    Bytes after = before;
    std::fill_n(after.begin() + 5000, 10'000, std::byte{2});
    EXPECT_EQ(read_file(path), after);
    EXPECT_EQ(files_in(dir), 1u);
    expect_error(ErrorKind::kUsage, "already", [&] { image->commit(); });
}

TEST(Image, AReaderMayWriteItsOverlayButNotTheImage) {
    TempDir dir;
    const std::string path = dir.write("image", Bytes(8192, std::byte{1}));
    auto image = Image::open(path, {});
    serve(*image)->write(0,
                         Bytes(8192, std::byte{2}));  // the guest's kernel replays its file system's journal
    expect_error(ErrorKind::kDenied, "not opened for writing", [&] { image->commit(); });
    EXPECT_EQ(read_file(path), Bytes(8192, std::byte{1}));
    auto another = Image::open(path, {});
    expect_error(ErrorKind::kBusy, "in use", [&] { Image::open(path, kWriter); });
}

TEST(Image, WhatIsNoImageIsRefusedWithTheReason) {
    TempDir dir;
    expect_error(ErrorKind::kNotFound, "none", [&] { Image::open(dir.file("none"), {}); });
    expect_error(ErrorKind::kUnsupported, "is a directory", [&] { Image::open(dir.path(), {}); });
    ASSERT_EQ(::mkfifo(dir.file("fifo").c_str(), 0600), 0);
    expect_error(ErrorKind::kUnsupported, "named pipe", [&] { Image::open(dir.file("fifo"), {}); });
    expect_error(ErrorKind::kUnsupported, "character device", [&] { Image::open("/dev/null", {}); });
    dir.write("empty", {});
    expect_error(ErrorKind::kCorrupt, "is empty", [&] { Image::open(dir.file("empty"), {}); });
    dir.write("small", Bytes(511));
    expect_error(ErrorKind::kCorrupt, "only 511 bytes", [&] { Image::open(dir.file("small"), {}); });
    std::filesystem::create_symlink(dir.file("loop"), dir.file("loop"));
    expect_error(ErrorKind::kUsage, "loop", [&] { Image::open(dir.file("loop"), {}); });
    std::filesystem::create_symlink(dir.file("none"), dir.file("dangling"));
    expect_error(ErrorKind::kNotFound, "dangling", [&] { Image::open(dir.file("dangling"), {}); });
}

TEST(Image, OtherFormatsAreToldFromRaw) {
    TempDir dir;
    const std::pair<std::string, std::string> samples[] = {
        {"QFI\xfb", "qcow2"},
        {"KDMV", "vmdk"},
        {"# Disk DescriptorFile\nversion=1\n", "vmdk"},
        {"#\n\n #\n", ""},
        {"#x\n \nversion=3\n", "vmdk"},
        {"vhdxfile", "vhdx"},
        {"conectix", "vpc"},
        {std::string(64, 'x') + "\x7f\x10\xda\xbe", "vdi"},
    };
    for (const auto& [start, format] : samples) {
        Bytes bytes(4096);
        std::memcpy(bytes.data(), start.data(), start.size());
        const std::string path = dir.write("image", bytes);
        if (format.empty()) {
            Image::open(path, {});
            continue;
        }
        expect_error(ErrorKind::kUnsupported, "is a " + format + " image", [&] { Image::open(path, {}); });
        EXPECT_FALSE(Image::open(path, {.format = ImageFormat::kRaw})->format_was_detected());
    }
    EXPECT_EQ(parse_image_format("raw"), ImageFormat::kRaw);
    expect_error(ErrorKind::kUnsupported, "qcow2", [] { parse_image_format("qcow2"); });
    expect_error(ErrorKind::kUsage, "'row'", [] { parse_image_format("row"); });
}

TEST(Image, ADetectedRawImageStaysRaw) {
    TempDir dir;
    const std::string path = dir.write("image", Bytes(8192));
    {
        auto image = Image::open(path, kWriter);
        serve(*image)->write(0, Bytes{std::byte{'Q'}, std::byte{'F'}, std::byte{'I'}, std::byte{0xfb}});
        expect_error(ErrorKind::kDenied, "qcow2", [&] { image->commit(); });
    }
    EXPECT_EQ(read_file(path), Bytes(8192));
    auto image = Image::open(path, {.format = ImageFormat::kRaw, .writable = true});
    serve(*image)->write(0, Bytes{std::byte{'Q'}, std::byte{'F'}, std::byte{'I'}, std::byte{0xfb}});
    EXPECT_TRUE(image->commit());
}

TEST(Image, AnotherProgramsWritesAreNotOverwritten) {
    TempDir dir;
    const std::string path = dir.write("image", Bytes(8192));
    {
        auto image = Image::open(path, kWriter);
        serve(*image)->write(0, Bytes(1, std::byte{1}));
        ::usleep(20'000);  // past the resolution of file times
        dir.write("image", Bytes(8192, std::byte{9}));
        expect_error(ErrorKind::kBusy, "written by another", [&] { image->commit(); });
    }
    auto image = Image::open(path, kWriter);
    serve(*image)->write(0, Bytes(1, std::byte{1}));
    std::filesystem::rename(dir.write("new", Bytes(8192, std::byte{8})), path);
    expect_error(ErrorKind::kBusy, "replaced", [&] { image->commit(); });
    EXPECT_EQ(read_file(path), Bytes(8192, std::byte{8}));
}

// Leaves beside an image of ones a journal that makes its second block twos.
std::string leave_journal(const std::string& path, bool committed) {
    PosixJournalFile file(path + ".insp-journal", ::geteuid(), ::getegid());
    JournalWriter writer(file, 8192, 8192);
    writer.add_data(4096, Bytes(4096, std::byte{2}), Bytes(4096, std::byte{1}));
    writer.finish();
    if (committed) writer.commit();
    return path + ".insp-journal";
}

TEST(Image, AnyOpenFinishesOrDiscardsWhatWasCutShort) {
    Bytes after(8192, std::byte{1});
    std::fill_n(after.begin() + 4096, 4096, std::byte{2});
    for (const bool writable : {false, true}) {
        TempDir dir;
        const std::string path = dir.write("image", Bytes(8192, std::byte{1}));
        leave_journal(path, false);
        std::filesystem::create_symlink(path, dir.file("link"));  // the journal is beside what it points to
        EXPECT_EQ(Image::open(dir.file("link"), {.format = {}, .writable = writable})->recovery(),
                  Recovery::kDiscarded);
        EXPECT_EQ(read_file(path), Bytes(8192, std::byte{1}));
        leave_journal(path, true);
        auto image = Image::open(dir.file("link"), {.format = {}, .writable = writable});
        EXPECT_EQ(image->recovery(), Recovery::kFinished);
        EXPECT_EQ(read_file(path), after);
        EXPECT_EQ(read_all(*image), after);
        EXPECT_EQ(files_in(dir), 2u);
        if (!writable) Image::open(path, {});  // it is a reader again
    }
}

TEST(Image, AReaderThatIsNotAloneSeesTheChangeWithoutFinishingIt) {
    TempDir dir;
    const Bytes before(8192, std::byte{1});
    Bytes after = before;
    std::fill_n(after.begin() + 4096, 4096, std::byte{2});
    const std::string path = dir.write("image", before);
    Fd other = open_file(path, O_RDONLY);
    std::optional<ImageLock> reader;
    reader.emplace(other.get(), LockMode::kRead, path);
    const std::string journal = leave_journal(path, true);
    {
        auto image = Image::open(path, {});
        EXPECT_EQ(image->recovery(), Recovery::kNothing);
        EXPECT_EQ(read_all(*image), after);
        EXPECT_EQ(read_file(path), before);
        EXPECT_TRUE(std::filesystem::exists(journal));
    }
    reader.reset();
    Image::open(path, {});
    EXPECT_EQ(read_file(path), after);
    EXPECT_FALSE(std::filesystem::exists(journal));
}

TEST(Image, AJournalThatDoesNotFitIsAnErrorForEveryone) {
    TempDir dir;
    const std::string path = dir.write("image", Bytes(8192, std::byte{1}));
    const std::string journal = leave_journal(path, true);
    const Bytes changed(8192, std::byte{3});
    dir.write("image", changed);
    expect_error(ErrorKind::kCorrupt, "changed by another", [&] { Image::open(path, {}); });
    expect_error(ErrorKind::kCorrupt, "changed by another", [&] { Image::open(path, kWriter); });
    EXPECT_EQ(read_file(path), changed);
    EXPECT_TRUE(std::filesystem::exists(journal));
}

// Runs `body` as a user without rights; false in the child's stead means the expectation failed there.
template <typename Body>
void as_nobody(Body body) {
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
        if (::setgid(65534) != 0 || ::setuid(65534) != 0) ::_exit(2);
        try {
            body();
        } catch (const std::exception& error) {
            ADD_FAILURE() << error.what();
        }
        ::_exit(testing::Test::HasFailure() ? 1 : 0);
    }
    int status;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

TEST(Image, RightsDecide) {
    if (::geteuid() != 0) GTEST_SKIP() << "needs root to become somebody without rights";
    TempDir dir;
    ASSERT_EQ(::chmod(dir.path().c_str(), 0755), 0);
    const std::string path = dir.write("image", Bytes(8192, std::byte{1}));
    ASSERT_EQ(::chmod(path.c_str(), 0600), 0);
    as_nobody([&] { expect_error(ErrorKind::kDenied, "for reading", [&] { Image::open(path, {}); }); });
    ASSERT_EQ(::chmod(path.c_str(), 0644), 0);
    as_nobody([&] { expect_error(ErrorKind::kDenied, "for writing", [&] { Image::open(path, kWriter); }); });
    ASSERT_EQ(::chmod(path.c_str(), 0666), 0);
    as_nobody([&] { expect_error(ErrorKind::kDenied, "directory", [&] { Image::open(path, kWriter); }); });
    // A change that was cut short, read by somebody who may not finish it.
    const std::string journal = leave_journal(path, true);
    as_nobody([&] { expect_error(ErrorKind::kDenied, "journal", [&] { Image::open(path, {}); }); });
    ASSERT_EQ(::chmod(journal.c_str(), 0644), 0);
    as_nobody([&] { EXPECT_EQ(read_all(*Image::open(path, {}))[5000], std::byte{2}); });
    EXPECT_EQ(read_file(path), Bytes(8192, std::byte{1}));
}

TEST(Image, AFullDiskLeavesTheImageAsItWas) {
    TempDir dir;
    // A file system of 1 MiB, where this may be had.
    const std::string mount_point = dir.file("tiny");
    std::filesystem::create_directory(mount_point);
    if (::system(("mount -t tmpfs -o size=1m tmpfs " + mount_point + " 2>/dev/null").c_str()) != 0) {
        GTEST_SKIP() << "a small tmpfs can't be mounted here";
    }
    const std::string path = mount_point + "/image";
    std::ofstream(path).close();
    std::filesystem::resize_file(path, 4 << 20);  // sparse
    {
        auto image = Image::open(path, kWriter);
        serve(*image)->write(0, Bytes(700'000, std::byte{1}));  // fits once, but not with its journal
        expect_error(ErrorKind::kNoSpace, "", [&] { image->commit(); });
        EXPECT_EQ(read_file(path), Bytes(4 << 20));
        EXPECT_FALSE(std::filesystem::exists(path + ".insp-journal"));
    }
    {
        auto image = Image::open(path, kWriter);
        serve(*image)->write(0, Bytes(200'000, std::byte{1}));
        EXPECT_TRUE(image->commit());
    }
    EXPECT_EQ(::system(("umount " + mount_point).c_str()), 0);
}

}  // namespace
}  // namespace inspect
