// SPDX-License-Identifier: LGPL-2.1-or-later
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include <fstream>

#include <inspect/clone.h>
#include <inspect/image.h>

#include "base/temp_dir_for_test.h"
#include "block/format_image.h"
#include "block/image.h"

namespace inspect {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kDisk = 16 << 20;

// What the disk holds.
Bytes contents(const DiskSpec& spec) {
    const auto image = Image::open(spec, {});
    const auto device = image->node().open();
    Bytes bytes(device->size());
    device->read(0, bytes);
    return bytes;
}

void write(const DiskSpec& spec, uint64_t offset, const Bytes& bytes) {
    const auto image = Image::open(spec, {.writable = true, .write_mode = WriteMode::kDirect});
    const auto device = image->node().open();
    device->write(offset, bytes);
    device->flush();
}

class ClonerTest : public ::testing::Test {
  protected:
    DiskSpec make(const std::string& name, const std::string& format,
                  const std::optional<NewBacking>& backing = {}) {
        const std::string path = dir_.file(name);
        format_image(open_file(path, O_RDWR | O_CREAT | O_EXCL), path, format, kDisk, backing);
        const DiskSpec spec{.path = path, .format = format};
        write(spec, 3 << 20, random_bytes(random_, 300'000));
        return spec;
    }
    size_t files() const {
        return static_cast<size_t>(
            std::distance(fs::directory_iterator(dir_.path()), fs::directory_iterator()));
    }
    CloneTarget target(const std::string& name) const { return {name, {dir_.file(name)}}; }

    TempDir dir_;
    std::mt19937_64 random_{7};
};

TEST_F(ClonerTest, EveryMethodGivesTheSameDisk) {
    for (const char* format : {"raw", "qcow2"}) {
        const DiskSpec source = make(std::string("source.") + format, format);
        const Bytes wanted = contents(source);
        for (const CloneMethod method : {CloneMethod::kAuto, CloneMethod::kCopy, CloneMethod::kOverlay}) {
            const std::string name = std::string(format) + "-" + std::string(clone_method_name(method));
            SCOPED_TRACE(name);
            Cloner cloner({.sources = {source}, .method = method});
            cloner.require_room({target(name)});
            const Clone clone = cloner.make(target(name));
            ASSERT_EQ(clone.disks.size(), 1U);
            EXPECT_EQ(clone.disks[0].virtual_size, kDisk);
            EXPECT_EQ(contents({.path = clone.disks[0].path, .format = clone.disks[0].format}), wanted);
            EXPECT_EQ(clone.disks[0].backing, method == CloneMethod::kOverlay ? source.path : "");
            struct stat status {};
            ASSERT_EQ(::stat(clone.disks[0].path.c_str(), &status), 0);
            EXPECT_LT(status.st_blocks * 512, 2 << 20);
        }
    }
}

TEST_F(ClonerTest, ConvertsAndKeepsOrDropsTheChain) {
    const DiskSpec base = make("base", "raw");
    write(base, 12 << 20, random_bytes(random_, 1 << 20));  // of which the top has nothing
    DiskSpec top = make("top", "qcow2", NewBacking{"base", "raw"});
    write(top, 9 << 20, random_bytes(random_, 70'000));
    const Bytes wanted = contents(top);
    fs::create_directory(dir_.file("else"));
    struct Case {
        std::string name, format;
        bool keep;
    };
    for (const Case& one : {Case{"flat", "", false}, Case{"flat-raw", "raw", false}, Case{"beside", "", true},
                            Case{"else/far", "", true}}) {
        SCOPED_TRACE(one.name);
        Cloner cloner({.sources = {top}, .format = one.format, .keep_chain = one.keep});
        const Clone clone = cloner.make(target(one.name));
        EXPECT_EQ(contents({.path = clone.disks[0].path, .format = clone.disks[0].format}), wanted);
        EXPECT_EQ(clone.disks[0].backing, one.keep ? base.path : "");
        EXPECT_EQ(image_info({.path = clone.disks[0].path, .format = clone.disks[0].format}).chain.size(),
                  one.keep ? 1U : 0U);
    }
    EXPECT_LT(fs::file_size(dir_.file("else/far")), fs::file_size(dir_.file("flat")));
}

TEST_F(ClonerTest, NothingIsLeftOfACloneThatFailed) {
    const DiskSpec one = make("one", "raw"), two = make("two", "raw");
    const size_t before = files();
    Cloner cloner({.sources = {one, two}});
    const CloneTarget both{"both", {dir_.file("a"), dir_.file("b")}};
    EXPECT_THROW(cloner.make(both, [](const std::vector<DiskSpec>&) { throw std::runtime_error("no"); }),
                 std::runtime_error);
    EXPECT_EQ(files(), before);
    // The second name is taken when the first disk has its name already.
    expect_error(ErrorKind::kDenied, "is there already", [&] {
        cloner.make(both, [&](const std::vector<DiskSpec>&) { std::ofstream(dir_.file("b")) << "taken"; });
    });
    EXPECT_EQ(files(), before + 1);
    EXPECT_EQ(fs::file_size(dir_.file("b")), 5U);
    fs::remove(dir_.file("b"));
    cloner.make(both, [&](const std::vector<DiskSpec>& disks) {
        ASSERT_EQ(disks.size(), 2U);
        write(disks[1], 0, Bytes(1, std::byte{'x'}));
    });
    EXPECT_EQ(contents({.path = dir_.file("b"), .format = "raw"})[0], std::byte{'x'});
    EXPECT_EQ(contents(two)[0], std::byte{0});
    EXPECT_EQ(files(), before + 2);
}

TEST_F(ClonerTest, RefusesWhatCanNotBe) {
    const DiskSpec source = make("source", "raw");
    Cloner cloner({.sources = {source}});
    const auto refused = [&](ErrorKind kind, const char* text, const std::vector<CloneTarget>& targets) {
        expect_error(kind, text, [&] { cloner.require_room(targets); });
    };
    refused(ErrorKind::kUsage, "two disks", {target("a"), target("a")});
    refused(ErrorKind::kDenied, "to be cloned", {target("source")});
    refused(ErrorKind::kNotFound, "cannot make", {target("missing/a")});
    std::ofstream(dir_.file("there")) << "x";
    refused(ErrorKind::kDenied, "--force", {target("there")});
    Cloner forced({.sources = {source}, .force = true});
    forced.make(target("there"));
    EXPECT_EQ(fs::file_size(dir_.file("there")), kDisk);
    expect_error(ErrorKind::kDenied, "to be cloned", [&] { forced.make(target("source")); });
    expect_error(ErrorKind::kUsage, "no disk", [] { Cloner({}); });
    expect_error(ErrorKind::kUsage, "overlay is a qcow2",
                 [&] { Cloner({.sources = {source}, .method = CloneMethod::kOverlay, .format = "raw"}); });
    expect_error(ErrorKind::kUnsupported, "vdi", [&] { Cloner({.sources = {source}, .format = "vdi"}); });
    expect_error(ErrorKind::kUnsupported, "no logical volume", [&] {
        Cloner({.sources = {source}, .method = CloneMethod::kLvmSnapshot}).make(target("lv"));
    });
}

TEST_F(ClonerTest, TheSourceIsLocked) {
    const DiskSpec source = make("source", "raw");
    const Cloner cloner({.sources = {source}});
    expect_error(ErrorKind::kBusy, "source", [&] { write(source, 0, Bytes(1)); });
}

TEST_F(ClonerTest, TooLittleRoomIsSaidBefore) {
    const DiskSpec source = make("source", "raw");
    Cloner cloner({.sources = {source}, .method = CloneMethod::kCopy});
    std::vector<CloneTarget> many;
    struct statvfs room {};
    ASSERT_EQ(::statvfs(dir_.path().c_str(), &room), 0);
    const uint64_t free = uint64_t{room.f_bavail} * room.f_frsize;
    if (free / (1 << 20) > 2'000'000) GTEST_SKIP() << "the file system has too much room for this test";
    for (uint64_t i = 0; i <= free / (1 << 20); ++i) many.push_back(target("c" + std::to_string(i)));
    expect_error(ErrorKind::kNoSpace, "too little room", [&] { cloner.require_room(many); });
}

}  // namespace
}  // namespace inspect
