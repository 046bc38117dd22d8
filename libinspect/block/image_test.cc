// SPDX-License-Identifier: LGPL-2.1-or-later
#include "block/image.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

#include <functional>
#include <tuple>

#include "base/temp_dir_for_test.h"
#include "block/format.h"
#include "block/image_for_test.h"
#include "block/memory_device.h"
#include "block/nbd_for_test.h"
#include "block/overlay.h"
#include "block/qcow2/create.h"
#include "block/qcow2/qcow2.h"
#include "block/raw.h"

namespace inspect {
namespace {

TEST(Image, ChangesAreCommittedOrVanish) {
    TempDir dir;
    const Bytes before(100'000, std::byte{1});
    const std::string path = dir.write("image", before);
    {
        auto image = open_image(path, kWriter);
        serve(*image)->write(5000, Bytes(10'000, std::byte{2}));
        EXPECT_EQ(read_file(path), before);
        EXPECT_EQ(files_in(dir), 1u);
    }
    EXPECT_EQ(read_file(path), before);
    auto image = open_image(path, kWriter);
    EXPECT_EQ(image->size(), 100'000u);
    EXPECT_TRUE(image->format_was_detected());
    EXPECT_EQ(::fcntl(image->node().fd, F_GETFL) & O_ACCMODE, O_RDONLY);
    serve(*image)->write(5000, Bytes(10'000, std::byte{2}));
    EXPECT_TRUE(image->commit());
    Bytes after = before;
    std::fill_n(after.begin() + 5000, 10'000, std::byte{2});
    EXPECT_EQ(read_file(path), after);
    EXPECT_EQ(files_in(dir), 1u);
    expect_error(ErrorKind::kUsage, "already", [&] { image->commit(); });
}

TEST(Image, GetsAnotherSizeAtTheCommit) {
    TempDir dir;
    const std::string path = dir.write("image", Bytes(100'000, std::byte{1}));
    {
        auto image = open_image(path, kWriter);
        EXPECT_TRUE(image->resizable());
        image->grow_session(200'192);
        EXPECT_EQ(image->session_size(), 200'192u);
        expect_error(ErrorKind::kUsage, "smaller than what", [&] { image->set_new_size(300'032); });
        EXPECT_FALSE(image->commit()) << "a larger disk in the session is no change by itself";
    }
    {
        auto image = open_image(path, kWriter);
        image->grow_session(200'192);
        auto store =
            std::make_shared<OverlayStore>(dup_fd(image->overlay()->memory_fd()),
                                           dup_fd(image->overlay()->spill_fd()), image->overlay()->size());
        Overlay disk(image->node().open(), store);
        disk.resize(200'192);
        disk.write(150'000, Bytes(10, std::byte{2}));
        image->set_new_size(200'192);
        EXPECT_TRUE(image->commit());
    }
    Bytes expected(200'192);
    std::fill_n(expected.begin(), 100'000, std::byte{1});
    std::fill_n(expected.begin() + 150'000, 10, std::byte{2});
    EXPECT_EQ(read_file(path), expected);
    auto image = open_image(path, kWriter);
    image->set_new_size(51'200);
    EXPECT_TRUE(image->commit());
    EXPECT_EQ(read_file(path), Bytes(51'200, std::byte{1}));
    EXPECT_EQ(files_in(dir), 1u);
}

TEST(Image, AReaderMayWriteItsOverlayButNotTheImage) {
    TempDir dir;
    const std::string path = dir.write("image", Bytes(8192, std::byte{1}));
    auto image = open_image(path);
    serve(*image)->write(0,
                         Bytes(8192, std::byte{2}));  // the guest's kernel replays its file system's journal
    expect_error(ErrorKind::kDenied, "not opened for writing", [&] { image->commit(); });
    EXPECT_EQ(read_file(path), Bytes(8192, std::byte{1}));
    auto another = open_image(path);
    expect_error(ErrorKind::kBusy, "in use", [&] { open_image(path, kWriter); });
}

TEST(Image, WhatIsNoImageIsRefusedWithTheReason) {
    TempDir dir;
    expect_error(ErrorKind::kNotFound, "none", [&] { open_image(dir.file("none")); });
    expect_error(ErrorKind::kUnsupported, "is a directory", [&] { open_image(dir.path()); });
    ASSERT_EQ(::mkfifo(dir.file("fifo").c_str(), 0600), 0);
    expect_error(ErrorKind::kUnsupported, "named pipe", [&] { open_image(dir.file("fifo")); });
    expect_error(ErrorKind::kUnsupported, "character device", [&] { open_image("/dev/null"); });
    dir.write("empty", {});
    expect_error(ErrorKind::kCorrupt, "is empty", [&] { open_image(dir.file("empty")); });
    dir.write("small", Bytes(511));
    expect_error(ErrorKind::kCorrupt, "only 511 bytes", [&] { open_image(dir.file("small")); });
    std::filesystem::create_symlink(dir.file("loop"), dir.file("loop"));
    expect_error(ErrorKind::kUsage, "loop", [&] { open_image(dir.file("loop")); });
    std::filesystem::create_symlink(dir.file("none"), dir.file("dangling"));
    expect_error(ErrorKind::kNotFound, "dangling", [&] { open_image(dir.file("dangling")); });
}

TEST(Image, OtherFormatsAreToldFromRaw) {
    TempDir dir;
    const std::tuple<std::string, ErrorKind, std::string> samples[] = {
        {"QFI\xfb", ErrorKind::kUnsupported, "version"},
        {"KDMV", ErrorKind::kDenied, "--format=vmdk"},
        {"# Disk DescriptorFile\nversion=1\n", ErrorKind::kDenied, "--format=vmdk"},
        {"#\n\n #\n", {}, ""},
        {"#x\n \nversion=3\n", ErrorKind::kDenied, "--format=vmdk"},
    };
    for (const auto& [start, kind, text] : samples) {
        Bytes bytes(4096);
        std::memcpy(bytes.data(), start.data(), start.size());
        const std::string path = dir.write("image", bytes);
        if (text.empty()) {
            EXPECT_EQ(open_image(path)->format(), "raw");
            continue;
        }
        expect_error(kind, text, [&] { open_image(path); });
        EXPECT_FALSE(open_image(path, kReader, "raw")->format_was_detected());
    }
    EXPECT_EQ(parse_image_format("raw"), ImageFormat::kRaw);
    EXPECT_EQ(parse_image_format("vmdk"), ImageFormat::kOther);
    expect_error(ErrorKind::kUsage, "'row'", [] { parse_image_format("row"); });
}

// ---- qcow2

// A qcow2 image; what `fill` writes to its disk is in it.
void make_qcow2(const std::string& path, Qcow2CreateOptions options,
                const std::function<void(BlockDevice&)>& fill,
                std::unique_ptr<BlockDevice> backing = nullptr) {
    auto file = std::make_unique<RawDevice>(open_file(path, O_RDWR | O_CREAT | O_TRUNC), false, path);
    create_qcow2(*file, options);
    const Qcow2Header header = Qcow2Header::parse(*file);
    Qcow2Device disk(header, {std::move(file), std::move(backing), nullptr},
                     {.read_only = false, .snapshot = {}});
    fill(disk);
    disk.flush();
}

std::unique_ptr<BlockDevice> raw_reader(const std::string& path) {
    return std::make_unique<RawDevice>(open_file(path, O_RDONLY), true, path);
}

TEST(Image, AQcow2ImageOnABackingFileIsChangedAtomically) {
    TempDir dir;
    constexpr uint64_t kSize = 3 << 20;
    const std::string base = dir.write("base.raw", Bytes(kSize, std::byte{7}));
    const std::string path = dir.file("top.qcow2");
    make_qcow2(
        path, {.size = kSize, .backing_name = "base.raw", .backing_format = "raw"},
        [](BlockDevice& disk) { disk.write(100'000, Bytes(50'000, std::byte{1})); }, raw_reader(base));
    const Bytes before = read_file(path);
    Bytes expected(kSize, std::byte{7});
    std::fill_n(expected.begin() + 100'000, 50'000, std::byte{1});

    // Its format is only detected: what it names is not opened, unless that is wanted.
    expect_error(ErrorKind::kDenied, "--allow-backing", [&] { open_image(path); });
    EXPECT_EQ(read_all(*Image::open({.path = path, .allow_backing = true}, kReader)), expected);
    EXPECT_EQ(read_all(*open_image(path, kReader, "qcow2")), expected);
    {
        auto image = open_image(path, kWriter, "qcow2");
        EXPECT_EQ(image->size(), kSize);
        EXPECT_EQ(image->files().size(), 2u);
        serve(*image)->write(2'000'000, Bytes(10, std::byte{9}));
    }
    EXPECT_EQ(read_file(path), before) << "without a commit nothing changes";
    auto image = open_image(path, kWriter, "qcow2");
    serve(*image)->write(2'000'000, Bytes(300'000, std::byte{2}));
    serve(*image)->write(120'000, Bytes(10, std::byte{3}));
    serve(*image)->write_zeroes(1'000'000, 200'000, true);
    EXPECT_TRUE(image->commit());
    image.reset();
    std::fill_n(expected.begin() + 2'000'000, 300'000, std::byte{2});
    std::fill_n(expected.begin() + 120'000, 10, std::byte{3});
    std::fill_n(expected.begin() + 1'000'000, 200'000, std::byte{0});
    EXPECT_EQ(read_all(*open_image(path, kReader, "qcow2")), expected);
    EXPECT_EQ(read_file(base), Bytes(kSize, std::byte{7}));
    EXPECT_EQ(files_in(dir), 2u);
    if (::system("command -v qemu-img >/dev/null") == 0) {
        EXPECT_EQ(::system(("qemu-img check -q " + path).c_str()), 0);
        dir.write("expected", expected);
        EXPECT_EQ(
            ::system(("qemu-img compare -q -f qcow2 -F raw " + path + " " + dir.file("expected")).c_str()),
            0);
    }
    // What is there already is no change.
    image = open_image(path, kWriter, "qcow2");
    serve(*image)->write(120'000, Bytes(10, std::byte{3}));
    EXPECT_FALSE(image->commit());
}

TEST(Image, ABackingFileMayBeNamedInJson) {
    TempDir dir;
    const std::string base = dir.write("base:raw", Bytes(1 << 20, std::byte{7}));
    const std::string path = dir.file("top");
    const auto make = [&](const std::string& name, std::optional<std::string> format) {
        make_qcow2(
            path, {.size = 1 << 20, .backing_name = name, .backing_format = std::move(format)},
            [](BlockDevice& disk) { disk.write(0, Bytes(512, std::byte{1})); },
            std::make_unique<MemoryDevice>(1 << 20));
    };
    for (const std::string& name : {base, std::string("base:raw")}) {
        for (const bool said_twice : {false, true}) {
            make(R"(json:{"driver":"raw","file":{"driver":"file","filename":")" + name + R"("}})",
                 said_twice ? std::optional<std::string>("raw") : std::nullopt);
            expect_error(ErrorKind::kDenied, "--allow-backing", [&] { open_image(path); });
            EXPECT_EQ(read_all(*open_image(path, kReader, "qcow2"))[100'000], std::byte{7});
        }
    }
    make(R"(json:{"driver":"raw","file":{"driver":"file","filename":")" + base + R"("}})", "qcow2");
    expect_error(ErrorKind::kCorrupt, "said to be qcow2, and raw",
                 [&] { open_image(path, kReader, "qcow2"); });
    make(R"(json:{"driver":"raw","offset":4096,"file":{"driver":"file","filename":")" + base + R"("}})",
         "raw");
    expect_error(ErrorKind::kUnsupported, "'offset'", [&] { open_image(path, kReader, "qcow2"); });
}

// ---- repair

constexpr char kFeaturesByte = 79;  // the lowest byte of a header's incompatible features

void set_byte(const std::string& path, std::streamoff at, char value) {
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(at).put(value);
}

TEST(Image, QemuImgRepairsWhatIsMarked) {
    if (::system("command -v qemu-img >/dev/null") != 0)
        GTEST_SKIP() << "qemu-img (Debian's qemu-utils) is not installed";
    TempDir dir;
    const std::string path = dir.file("image");
    const auto make = [&](char features) {
        make_qcow2(path, {.size = 1 << 20},
                   [](BlockDevice& disk) { disk.write(0, Bytes(10, std::byte{5})); });
        set_byte(path, kFeaturesByte, features);
    };
    const auto open = [&](Repair repair, bool writable) {
        return Image::open({.path = path, .repair = repair}, {.writable = writable});
    };
    make(1);  // dirty
    EXPECT_EQ(read_all(*open(Repair::kNone, false))[9], std::byte{5});
    expect_error(ErrorKind::kUnsupported, "--repair", [&] { open(Repair::kNone, true); });
    {
        auto image = open(Repair::kLeaks, true);
        serve(*image)->write(9, Bytes(1, std::byte{6}));
        EXPECT_TRUE(image->commit());
    }
    EXPECT_EQ(read_all(*open(Repair::kNone, true))[9], std::byte{6});

    make(2);  // corrupt: its first data cluster's refcount, the fifth, is 0
    Bytes bytes = read_file(path);
    set_byte(path, 2 * 65536 + 4 * 2 + 1, 0);
    ASSERT_NE(read_file(path), bytes) << "the refcount block is where it is expected";
    expect_error(ErrorKind::kCorrupt, "--repair", [&] { open(Repair::kNone, false); });
    expect_error(ErrorKind::kCorrupt, "--repair=all", [&] { open(Repair::kLeaks, false); });
    EXPECT_EQ(read_all(*open(Repair::kAll, false))[9], std::byte{5});
    EXPECT_EQ(read_all(*open(Repair::kNone, true))[9], std::byte{5});

    // What is sound is left alone; qemu-img isn't even asked.
    bytes = read_file(path);
    const std::string search_path = ::getenv("PATH");
    ::setenv("PATH", dir.path().c_str(), 1);
    open(Repair::kAll, true);
    EXPECT_EQ(read_file(path), bytes);
    make(1);
    expect_error(ErrorKind::kNotFound, "qemu-utils", [&] { open(Repair::kAll, true); });
    ::setenv("PATH", search_path.c_str(), 1);
    // A program that has it in use keeps qemu-img away.
    {
        auto reader = open(Repair::kNone, false);
        expect_error(ErrorKind::kBusy, "lock", [&] { open(Repair::kAll, false); });
    }
    open(Repair::kAll, false);
}

TEST(Image, ARepairOpensNoOtherFileThatADetectedImageNames) {
    if (::system("command -v qemu-img >/dev/null") != 0)
        GTEST_SKIP() << "qemu-img (Debian's qemu-utils) is not installed";
    TempDir dir;
    const std::string path = dir.file("image");
    // The backing file isn't there: who tried to open it would fail.
    make_qcow2(
        path, {.size = 1 << 20, .backing_name = "none", .backing_format = "raw"}, [](BlockDevice&) {},
        std::make_unique<MemoryDevice>(1 << 20));
    set_byte(path, kFeaturesByte, 1);
    expect_error(ErrorKind::kDenied, "--allow-backing",
                 [&] { Image::open({.path = path, .repair = Repair::kAll}, kReader); });
    EXPECT_EQ(read_file(path)[kFeaturesByte], std::byte{0}) << "repaired all the same";
}

// ---- chains

TEST(Image, AChainThatComesBackToItselfIsRefused) {
    TempDir dir;
    const Qcow2CreateOptions on_b{.size = 1 << 20, .backing_name = "b", .backing_format = "qcow2"};
    const Qcow2CreateOptions on_a{.size = 1 << 20, .backing_name = "a", .backing_format = "qcow2"};
    make_qcow2(
        dir.file("a"), on_b, [](BlockDevice&) {}, std::make_unique<MemoryDevice>(1 << 20));
    make_qcow2(
        dir.file("b"), on_a, [](BlockDevice&) {}, std::make_unique<MemoryDevice>(1 << 20));
    expect_error(ErrorKind::kCorrupt, "comes back", [&] { open_image(dir.file("a"), kReader, "qcow2"); });
    std::filesystem::remove(dir.file("b"));
    expect_error(ErrorKind::kNotFound, "backing file of",
                 [&] { open_image(dir.file("a"), kReader, "qcow2"); });
    std::filesystem::create_directory(dir.file("b"));
    expect_error(ErrorKind::kUnsupported, "is a directory",
                 [&] { open_image(dir.file("a"), kReader, "qcow2"); });
}

// The journal of an image that is on a server is on this host.
TEST(Image, AChangeToARemoteImageThatWasCutShortIsFinished) {
    TempDir dir;
    ::setenv("XDG_STATE_HOME", dir.path().c_str(), 1);
    MemoryDevice disk(Bytes(8192, std::byte{1}));
    ServedDevice server(disk);
    const std::string uri = server.uri();
    const std::string journal = remote_journal_path(uri, true);
    {
        PosixJournalFile file(journal, ::geteuid(), ::getegid());
        JournalWriter writer(file, {{8192, 8192}});
        writer.add_data(4096, Bytes(4096, std::byte{2}), Bytes(4096, std::byte{1}));
        writer.finish();
        writer.commit();
    }
    Bytes after(8192, std::byte{1});
    std::fill_n(after.begin() + 4096, 4096, std::byte{2});
    EXPECT_EQ(read_all(*open_image(uri)), after);
    EXPECT_EQ(disk.bytes(), Bytes(8192, std::byte{1})) << "a reader finishes nothing";
    {
        auto image = open_image(uri, kWriter);
        EXPECT_EQ(disk.bytes(), after);
        EXPECT_FALSE(std::filesystem::exists(journal));
        expect_error(ErrorKind::kBusy, "another session", [&] { open_image(uri, kWriter); });
        serve(*image)->write(10, Bytes(3, std::byte{3}));
        EXPECT_TRUE(image->commit());
    }
    std::fill_n(after.begin() + 10, 3, std::byte{3});
    EXPECT_EQ(disk.bytes(), after);
    EXPECT_TRUE(std::filesystem::is_empty(dir.path() + "/libinspect")) << "neither journal nor lock is left";
    ::unsetenv("XDG_STATE_HOME");
}

TEST(Image, WrittenDirectlyItKeepsWhatWasWritten) {
    TempDir dir;
    const std::string raw = dir.write("raw", Bytes(1 << 20)), path = dir.file("qcow2");
    make_qcow2(path, {.size = 1 << 20}, [](BlockDevice&) {});
    const ImageOptions direct{.writable = true, .write_mode = WriteMode::kDirect};
    for (const std::string& name : {raw, path}) {
        {
            auto image = open_image(name, direct);
            EXPECT_EQ(image->overlay(), nullptr);
            auto device = DiskNode::parse(image->node().encode()).open();
            device->write(70'000, Bytes(100, std::byte{5}));
            if (name == raw) {
                const Bytes magic{std::byte{'Q'}, std::byte{'F'}, std::byte{'I'}, std::byte{0xfb}};
                expect_error(ErrorKind::kDenied, "look like a qcow2", [&] { device->write(0, magic); });
            }
            device->flush();
            EXPECT_FALSE(image->commit());
        }
        EXPECT_EQ(read_all(*open_image(name))[70'050], std::byte{5});
    }
}

TEST(Image, ADetectedRawImageStaysRaw) {
    TempDir dir;
    const std::string path = dir.write("image", Bytes(8192));
    {
        auto image = open_image(path, kWriter);
        serve(*image)->write(0, Bytes{std::byte{'Q'}, std::byte{'F'}, std::byte{'I'}, std::byte{0xfb}});
        expect_error(ErrorKind::kDenied, "qcow2", [&] { image->commit(); });
    }
    EXPECT_EQ(read_file(path), Bytes(8192));
    auto image = open_image(path, kWriter, "raw");
    serve(*image)->write(0, Bytes{std::byte{'Q'}, std::byte{'F'}, std::byte{'I'}, std::byte{0xfb}});
    EXPECT_TRUE(image->commit());
}

TEST(Image, AnotherProgramsWritesAreNotOverwritten) {
    TempDir dir;
    const std::string path = dir.write("image", Bytes(8192));
    {
        auto image = open_image(path, kWriter);
        serve(*image)->write(0, Bytes(1, std::byte{1}));
        ::usleep(20'000);  // past the resolution of file times
        dir.write("image", Bytes(8192, std::byte{9}));
        expect_error(ErrorKind::kBusy, "written by another", [&] { image->commit(); });
    }
    auto image = open_image(path, kWriter);
    serve(*image)->write(0, Bytes(1, std::byte{1}));
    std::filesystem::rename(dir.write("new", Bytes(8192, std::byte{8})), path);
    expect_error(ErrorKind::kBusy, "replaced", [&] { image->commit(); });
    EXPECT_EQ(read_file(path), Bytes(8192, std::byte{8}));
}

// Leaves beside an image of ones a journal that makes its second block twos.
std::string leave_journal(const std::string& path, bool committed) {
    PosixJournalFile file(path + ".insp-journal", ::geteuid(), ::getegid());
    JournalWriter writer(file, {{8192, 8192}});
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
        EXPECT_EQ(open_image(dir.file("link"), {.writable = writable})->files()[0]->recovery(),
                  Recovery::kDiscarded);
        EXPECT_EQ(read_file(path), Bytes(8192, std::byte{1}));
        leave_journal(path, true);
        auto image = open_image(dir.file("link"), {.writable = writable});
        EXPECT_EQ(image->files()[0]->recovery(), Recovery::kFinished);
        EXPECT_EQ(read_file(path), after);
        EXPECT_EQ(read_all(*image), after);
        EXPECT_EQ(files_in(dir), 2u);
        if (!writable) open_image(path);  // it is a reader again
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
        auto image = open_image(path);
        EXPECT_EQ(image->files()[0]->recovery(), Recovery::kNothing);
        EXPECT_EQ(read_all(*image), after);
        EXPECT_EQ(read_file(path), before);
        EXPECT_TRUE(std::filesystem::exists(journal));
    }
    reader.reset();
    open_image(path);
    EXPECT_EQ(read_file(path), after);
    EXPECT_FALSE(std::filesystem::exists(journal));
}

TEST(Image, AJournalThatDoesNotFitIsAnErrorForEveryone) {
    TempDir dir;
    const std::string path = dir.write("image", Bytes(8192, std::byte{1}));
    const std::string journal = leave_journal(path, true);
    const Bytes changed(8192, std::byte{3});
    dir.write("image", changed);
    expect_error(ErrorKind::kCorrupt, "changed by another", [&] { open_image(path); });
    expect_error(ErrorKind::kCorrupt, "changed by another", [&] { open_image(path, kWriter); });
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
    as_nobody([&] { expect_error(ErrorKind::kDenied, "for reading", [&] { open_image(path); }); });
    ASSERT_EQ(::chmod(path.c_str(), 0644), 0);
    as_nobody([&] { expect_error(ErrorKind::kDenied, "for writing", [&] { open_image(path, kWriter); }); });
    ASSERT_EQ(::chmod(path.c_str(), 0666), 0);
    as_nobody([&] { expect_error(ErrorKind::kDenied, "directory", [&] { open_image(path, kWriter); }); });
    // A change that was cut short, read by somebody who may not finish it.
    const std::string journal = leave_journal(path, true);
    as_nobody([&] { expect_error(ErrorKind::kDenied, "journal", [&] { open_image(path); }); });
    ASSERT_EQ(::chmod(journal.c_str(), 0644), 0);
    as_nobody([&] { EXPECT_EQ(read_all(*open_image(path))[5000], std::byte{2}); });
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
        auto image = open_image(path, kWriter);
        serve(*image)->write(0, Bytes(700'000, std::byte{1}));  // fits once, but not with its journal
        expect_error(ErrorKind::kNoSpace, "", [&] { image->commit(); });
        EXPECT_EQ(read_file(path), Bytes(4 << 20));
        EXPECT_FALSE(std::filesystem::exists(path + ".insp-journal"));
    }
    {
        auto image = open_image(path, kWriter);
        serve(*image)->write(0, Bytes(200'000, std::byte{1}));
        EXPECT_TRUE(image->commit());
    }
    EXPECT_EQ(::system(("umount " + mount_point).c_str()), 0);
}

}  // namespace
}  // namespace inspect
