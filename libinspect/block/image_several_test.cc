// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Images of several files, and several images of a session: changed together, and recovered together.
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>

#include "block/image.h"
#include "block/image_for_test.h"
#include "block/journal.h"
#include "block/lock.h"
#include "block/qcow2/create.h"
#include "block/raw.h"

namespace inspect {
namespace {

std::string journal_of(const std::string& path) { return path + ".insp-journal"; }

TEST(Image, SeveralAreChangedTogether) {
    TempDir dir;
    const Bytes before(64 * 1024, std::byte{1});
    const std::string first = dir.write("first", before), second = dir.write("second", before);
    {
        auto one = open_image(first, kWriter), other = open_image(second, kWriter);
        serve(*one)->write(100, Bytes(10, std::byte{2}));
        serve(*other)->write(20'000, Bytes(10, std::byte{3}));
        Image* const both[] = {one.get(), other.get()};
        EXPECT_TRUE(Image::commit(both));
        EXPECT_EQ(read_file(first)[105], std::byte{2});
        EXPECT_EQ(read_file(second)[20'005], std::byte{3});
        EXPECT_EQ(files_in(dir), 2u);
    }
    // The second one can't be changed: nor is the first.
    auto one = open_image(first, kWriter), other = open_image(second, kWriter);
    const Bytes unchanged = read_file(first);
    serve(*one)->write(100, Bytes(10, std::byte{4}));
    serve(*other)->write(0, Bytes{std::byte{'Q'}, std::byte{'F'}, std::byte{'I'}, std::byte{0xfb}});
    Image* const both[] = {one.get(), other.get()};
    expect_error(ErrorKind::kDenied, "qcow2", [&] { Image::commit(both); });
    EXPECT_EQ(read_file(first), unchanged);
    EXPECT_EQ(files_in(dir), 2u);
}

// Two images of ones, and the rest of a commit that makes twos of the second block of both.
struct CutShort {
    explicit CutShort(bool committed, const std::string& folder = "") {
        if (!folder.empty()) std::filesystem::create_directory(dir.file(folder));
        first = dir.write("first", Bytes(8192, std::byte{1}));
        second = dir.write(folder.empty() ? "second" : folder + "/second", Bytes(8192, std::byte{1}));
        PosixJournalFile journal(journal_of(first), ::geteuid(), ::getegid());
        PosixJournalFile pointer(journal_of(second), ::geteuid(), ::getegid());
        JournalWriter writer(journal, {{8192, 8192, first}, {8192, 8192, second}});
        writer.begin();
        pointer.create();
        writer.point_here(pointer, 1);
        for (size_t target : {0, 1}) {
            writer.set_target(target);
            writer.add_data(4096, Bytes(4096, std::byte{2}), Bytes(4096, std::byte{1}));
        }
        writer.finish();
        if (committed) writer.commit();
    }
    static Bytes after() {
        Bytes bytes(8192, std::byte{1});
        std::fill_n(bytes.begin() + 4096, 4096, std::byte{2});
        return bytes;
    }
    TempDir dir;
    std::string first, second;
};

TEST(Image, AChangeOfSeveralIsFinishedByWhoeverOpensOne) {
    for (const bool committed : {false, true}) {
        for (const bool opens_first : {false, true}) {
            for (const bool writable : {false, true}) {
                for (const char* folder : {"", "elsewhere"}) {
                    CutShort cut(committed, folder);
                    auto image = open_image(opens_first ? cut.first : cut.second, {.writable = writable});
                    EXPECT_EQ(image->files()[0]->recovery(),
                              committed ? Recovery::kFinished : Recovery::kDiscarded);
                    const Bytes expected = committed ? CutShort::after() : Bytes(8192, std::byte{1});
                    EXPECT_EQ(read_all(*image), expected);
                    EXPECT_EQ(read_file(cut.first), expected);
                    EXPECT_EQ(read_file(cut.second), expected);
                    EXPECT_EQ(read_all(*open_image(opens_first ? cut.second : cut.first)), expected);
                    EXPECT_FALSE(std::filesystem::exists(journal_of(cut.first)));
                    EXPECT_FALSE(std::filesystem::exists(journal_of(cut.second)));
                }
            }
        }
    }
}

// A journal names what is in its own folder without the folder.
TEST(Image, AChangeOfSeveralSurvivesThatTheirFolderIsRenamed) {
    CutShort cut(true);
    TempDir elsewhere;
    for (const auto& entry : std::filesystem::directory_iterator(cut.dir.path()))
        std::filesystem::rename(entry.path(), elsewhere.file(entry.path().filename()));
    EXPECT_EQ(read_all(*open_image(elsewhere.file("second"), kWriter)), CutShort::after());
    EXPECT_EQ(read_file(elsewhere.file("first")), CutShort::after());
    EXPECT_EQ(files_in(elsewhere), 2u);
}

TEST(Image, AChangeOfSeveralNeedsAllOfThem) {
    CutShort cut(true);
    const Bytes before(8192, std::byte{1});
    {
        // Somebody reads the other one: readers see the change, writers have to wait.
        Fd other = open_file(cut.first, O_RDONLY);
        ImageLock reader(other.get(), LockMode::kRead, cut.first);
        EXPECT_EQ(read_all(*open_image(cut.second)), CutShort::after());
        expect_error(ErrorKind::kBusy, "another image as well", [&] { open_image(cut.second, kWriter); });
        EXPECT_EQ(read_file(cut.second), before);
    }
    std::filesystem::rename(cut.first, cut.first + ".moved");
    EXPECT_EQ(read_all(*open_image(cut.second)), CutShort::after());
    expect_error(ErrorKind::kNotFound, "another image as well", [&] { open_image(cut.second, kWriter); });
    std::filesystem::rename(journal_of(cut.first), journal_of(cut.first) + ".moved");
    expect_error(ErrorKind::kCorrupt, "put it back there", [&] { open_image(cut.second); });
    EXPECT_EQ(read_file(cut.second), before);
    EXPECT_EQ(read_file(cut.first + ".moved"), before);
}

// Somebody's journal can't make root write into a file that isn't his.
TEST(Image, AJournalOfSeveralIsBelievedOnlyOfItsOwnersFiles) {
    if (::geteuid() != 0) GTEST_SKIP() << "needs root to have files of different owners";
    for (const bool opens_first : {false, true}) {
        CutShort cut(true);
        const std::string& opened = opens_first ? cut.first : cut.second;
        const std::string& other = opens_first ? cut.second : cut.first;
        for (const std::string& file : {opened, journal_of(cut.first), journal_of(cut.second)})
            ASSERT_EQ(::chown(file.c_str(), 12345, 12345), 0);
        expect_error(ErrorKind::kDenied, "image's owner", [&] { open_image(opened, kWriter); });
        EXPECT_EQ(read_all(*open_image(opened)), CutShort::after()) << "of his own he may say anything";
        EXPECT_EQ(read_file(other), Bytes(8192, std::byte{1}));
        ASSERT_EQ(::chown(other.c_str(), 12345, 12345), 0);
        open_image(opened, kWriter);
        EXPECT_EQ(read_file(other), CutShort::after());
    }
}

TEST(Image, WithItsDataInAnotherFileItIsChangedAtomically) {
    for (const bool raw : {false, true}) {
        TempDir dir;
        const std::string path = dir.file("image"), data = dir.sparse("data", 1 << 20);
        {
            RawDevice file(open_file(path, O_RDWR | O_CREAT), false, path);
            create_qcow2(file, {.size = 1 << 20, .data_file_name = "data", .raw_data_file = raw});
        }
        expect_error(ErrorKind::kDenied, "--allow-backing", [&] { open_image(path, kWriter); });
        auto image = open_image(path, kWriter, "qcow2");
        expect_error(ErrorKind::kBusy, "in use", [&] { open_image(data, kWriter, "raw"); });
        serve(*image)->write(100'000, Bytes(5000, std::byte{7}));
        EXPECT_EQ(read_file(data), Bytes(1 << 20));
        EXPECT_TRUE(image->commit());
        image.reset();
        Bytes expected(1 << 20);
        std::fill_n(expected.begin() + 100'000, 5000, std::byte{7});
        EXPECT_EQ(read_file(data), expected);
        EXPECT_EQ(read_all(*open_image(path, kReader, "qcow2")), expected);
        EXPECT_EQ(files_in(dir), 2u);
        if (::system("command -v qemu-img >/dev/null") == 0) {
            // QEMU looks for the data file in its own folder.
            EXPECT_EQ(::system(("cd " + dir.path() + " && qemu-img check -q -f qcow2 image").c_str()), 0);
        }
        // What was there already is written in place: then only the data file changes.
        const Bytes metadata = read_file(path);
        image = open_image(path, kWriter, "qcow2");
        serve(*image)->write(100'000, Bytes(5, std::byte{8}));
        EXPECT_TRUE(image->commit());
        EXPECT_EQ(read_file(path), metadata);
        EXPECT_EQ(read_file(data)[100'004], std::byte{8});
    }
}

// Its size alone, too, and together with another image.
TEST(Image, WithItsDataInAnotherFileItGetsAnotherSize) {
    TempDir dir;
    const std::string path = dir.file("image"), data = dir.sparse("data", 1 << 20);
    const std::string other = dir.write("other", Bytes(8192, std::byte{1}));
    {
        RawDevice file(open_file(path, O_RDWR | O_CREAT), false, path);
        create_qcow2(file, {.size = 1 << 20, .data_file_name = "data", .raw_data_file = true});
    }
    for (const uint64_t size : {2u << 20, 512u << 10}) {
        auto image = open_image(path, kWriter, "qcow2"), second = open_image(other, kWriter, "raw");
        const uint64_t before = image->size();
        if (size > before) image->grow_session(size);
        image->set_new_size(size);
        second->grow_session(size / 64);
        second->set_new_size(size / 64);
        Image* const both[] = {image.get(), second.get()};
        EXPECT_TRUE(Image::commit(both));
        image.reset();
        EXPECT_EQ(open_image(path, kReader, "qcow2")->size(), size);
        EXPECT_EQ(read_file(data).size(), size);
        EXPECT_EQ(std::filesystem::file_size(other), size / 64);
        EXPECT_EQ(files_in(dir), 3u);
        if (::system("command -v qemu-img >/dev/null") == 0) {
            EXPECT_EQ(::system(("cd " + dir.path() + " && qemu-img check -q -f qcow2 image").c_str()), 0);
            EXPECT_EQ(
                ::system(("cd " + dir.path() + " && qemu-img compare -q -f qcow2 -F raw image data").c_str()),
                0);
        }
    }
}

}  // namespace
}  // namespace inspect
