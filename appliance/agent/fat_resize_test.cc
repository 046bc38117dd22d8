// SPDX-License-Identifier: GPL-2.0-or-later
//
// File systems that mkfs.fat made and mtools filled, made larger and smaller: fsck.fat and mtools say what
// came of them.
#include "fat_resize.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <random>

#include "agent_harness.h"
#include "base/endian.h"
#include "base/units.h"
#include "fat_check.h"
#include "fat_table.h"

namespace inspect::agent {
namespace {

const std::function<void()> kPoll = [] {};

class FatResizeTest : public testing::Test {
  protected:
    void SetUp() override {
        if (std::system("command -v mkfs.fat mcopy >/dev/null 2>&1") != 0)
            GTEST_SKIP() << "mkfs.fat or mtools are not installed";
    }
    // What it says; `code` is how it ends.
    std::string run(const std::string& command, int code = 0) const {
        const std::string log = directory_ / "log";
        const int status = std::system(
            ("export LC_ALL=C.UTF-8; cd " + directory_.path() + " && { " + command + "; } >" + log + " 2>&1")
                .c_str());
        std::string output = read_text(log);
        EXPECT_EQ(WEXITSTATUS(status), code) << command << "\n" << output;
        return output;
    }
    void make(const std::string& options, uint64_t size) {
        write_text(image_, "");
        std::filesystem::resize_file(image_, size);
        run("mkfs.fat -n DATA -i 1234ABCD -h 2048 -g 16/32 " + options + " image");
    }
    // Long and short names, directories in directories and one of many entries; what is deleted in between
    // makes holes.
    void fill(unsigned bytes) {
        std::mt19937 random(bytes);
        std::filesystem::create_directories(directory_ / "files/a directory/deeper/and deeper");
        std::filesystem::create_directories(directory_ / "files/MANY");
        std::filesystem::create_directories(directory_ / "filler");
        auto file = [&](const std::string& name, size_t size) {
            std::string text(size, '\0');
            for (char& c : text) c = static_cast<char>(random());
            write_text(directory_ / name, text);
        };
        file("files/EMPTY", 0);
        for (int i = 0; i < 60; ++i)
            file("files/MANY/a rather long name " + std::to_string(i), random() % 300);
        unsigned used = 0;
        for (int i = 0; used < bytes; ++i) {
            const unsigned size = 1 + static_cast<unsigned>(random() % (bytes / 12));
            const char* folders[] = {"", "a directory/", "a directory/deeper/and deeper/"};
            file("files/" + std::string(folders[i % 3]) + "file" + std::to_string(i), size);
            file("filler/f" + std::to_string(i), size / 2);
            used += size;
        }
        run("mmd -i image ::filler; i=0; for f in files/*; do mcopy -s -Q -i image \"$f\" ::; "
            "mcopy -Q -i image filler/f$i ::filler || true; i=$((i+1)); done");
        run("mcopy -s -Q -o -i image files/* ::; mdeltree -i image ::filler");
    }
    // fsck.fat has nothing to say, and the files are what they were.
    void expect_sound() const {
        const std::string output = run("fsck.fat -n image | grep -v '^image: '");
        EXPECT_TRUE(fat_is_sound(output)) << output;
        run("rm -rf out; mkdir out; mcopy -s -n -Q -i image '::*' out; diff -r files out");
    }
    FatLayout layout() const {
        const auto found = read_fat_layout(open_file(image_, O_RDONLY).get(), 0);
        EXPECT_TRUE(found);
        return found.value_or(FatLayout{});
    }
    // The file gets that size, too, before or after.
    void resize(uint64_t size) const {
        if (size > std::filesystem::file_size(image_)) std::filesystem::resize_file(image_, size);
        resize_fat(open_file(image_, O_RDWR).get(), 0, size, kPoll);
        std::filesystem::resize_file(image_, size);
    }
    uint64_t smallest() const { return smallest_fat(open_file(image_, O_RDONLY).get(), 0, kPoll); }
    // The failure's message; the file is what it was.
    std::string refusal(uint64_t size) const {
        run("cp --sparse=always image before");
        std::string message;
        try {
            resize_fat(open_file(image_, O_RDWR).get(), 0, size, kPoll);
            ADD_FAILURE() << "it wasn't refused";
        } catch (const Failure& failure) {
            message = failure.message();
        }
        run("cmp image before");
        return message;
    }
    std::string peek(uint64_t at, size_t size) const {
        std::string bytes(size, '\0');
        const Fd file = open_file(image_, O_RDONLY);
        EXPECT_EQ(pread_full(file.get(), std::as_writable_bytes(std::span(bytes)), at, "peek"), size);
        return bytes;
    }
    void poke(uint64_t at, const std::string& bytes) const {
        const Fd file = open_file(image_, O_RDWR);
        pwrite_full(file.get(), std::as_bytes(std::span(bytes)), at, "poke");
    }
    // In all tables; of 16 bits.
    void poke_entry(uint64_t cluster, uint16_t value) const {
        const FatLayout now = layout();
        const std::string bytes{static_cast<char>(value), static_cast<char>(value >> 8)};
        for (uint32_t table = 0; table < now.tables; ++table)
            poke(now.table_start(table) + cluster * 2, bytes);
    }
    uint32_t entry(uint64_t cluster) const {
        const Fd file = open_file(image_, O_RDONLY);
        const FatLayout now = layout();
        return FatTable(file.get(), 0, now).at(cluster);
    }

    TemporaryDirectory directory_;
    std::string image_ = directory_ / "image";
};

struct Case {
    const char* name;
    const char* options;
    unsigned bits;
    uint64_t size;
    unsigned bytes;  // of files
    std::vector<uint64_t> sizes;
};
void PrintTo(const Case& c, std::ostream* out) { *out << c.name; }

class FatResizeCases : public FatResizeTest, public testing::WithParamInterface<Case> {};

TEST_P(FatResizeCases, KeepsWhatIsInIt) {
    const Case& c = GetParam();
    make(c.options, c.size);
    fill(c.bytes);
    expect_sound();
    const std::string boot = peek(0, kFatBootSector);
    const FatLayout first = layout();
    ASSERT_EQ(first.bits, c.bits);
    auto check = [&](uint64_t size) {
        SCOPED_TRACE(size);
        expect_sound();
        const FatLayout now = layout();
        EXPECT_EQ(now.bits, c.bits);
        EXPECT_LE(now.size(), size);
        // All of it, but for a remainder.
        if (size < largest_fat(now)) {
            EXPECT_GT(now.size() + 200 * now.cluster_size(), size);
        }
        // Nothing but sizes is another.
        std::string after = peek(0, kFatBootSector);
        for (const auto& [at, length] :
             {std::pair(19, 2), {22, 2}, {32, 4}, {36, c.bits == 32 ? 4 : 0}, {44, c.bits == 32 ? 4 : 0}}) {
            for (int i = 0; i < length; ++i)
                after[static_cast<size_t>(at + i)] = boot[static_cast<size_t>(at + i)];
        }
        EXPECT_EQ(after, boot);
        // What the appliance's check of its own says, where fsck.fat would take too much memory.
        EXPECT_NO_THROW(verify_fat(open_file(image_, O_RDONLY).get(), 0, kPoll));
    };
    for (const uint64_t size : c.sizes) {
        resize(size);
        check(size);
    }
    // As small as it says it can be, and no smaller.
    const uint64_t least = smallest();
    EXPECT_LT(least, c.size);
    resize(least);
    check(least);
    EXPECT_EQ(smallest(), least);
    EXPECT_EQ(layout().size(), least);
    EXPECT_THAT(refusal(least - 1),
                testing::AnyOf(testing::HasSubstr("doesn't fit"), testing::HasSubstr("can't be that small")));
    // And back.
    resize(c.size);
    check(c.size);
    // It can still be written to.
    run("head -c 50000 /dev/zero >files/later; mcopy -Q -i image files/later ::");
    expect_sound();
}

INSTANTIATE_TEST_SUITE_P(
    , FatResizeCases,
    testing::Values(
        Case{"Floppy",
             "-F 12 -f 2 -s 1 -r 224",
             12,
             1440 * kKiB,
             500'000,
             {1600 * kKiB, 1500 * kKiB, 2085 * kKiB}},
        Case{"Fat12", "-F 12 -s 8", 12, 8 * kMiB, 3'000'000, {12 * kMiB, 7 * kMiB + 512, 15 * kMiB - 512}},
        Case{"Fat12OneTable", "-F 12 -s 4 -f 1", 12, 3 * kMiB, 800'000, {7 * kMiB, 5 * kMiB + 1536}},
        Case{"Fat12LargeSectors", "-F 12 -S 4096 -s 1", 12, 6 * kMiB, 2'000'000, {16 * kMiB, 8 * kMiB}},
        Case{"Fat16SmallClusters",
             "-F 16 -s 1",
             16,
             8 * kMiB,
             2'000'000,
             {20 * kMiB, 31 * kMiB, 9 * kMiB + 512}},
        Case{"Fat16", "-F 16 -s 4 -R 4", 16, 30 * kMiB, 4'000'000, {90 * kMiB, 50 * kMiB, 127 * kMiB}},
        Case{"Fat16OddRoot", "-F 16 -s 2 -r 240 -a", 16, 20 * kMiB, 3'000'000, {41 * kMiB + 512, 60 * kMiB}},
        Case{"Fat16OneTable", "-F 16 -s 8 -f 1", 16, 40 * kMiB, 4'000'000, {150 * kMiB, 60 * kMiB}},
        Case{"Fat16LargeSectors", "-F 16 -S 4096 -s 1", 16, 24 * kMiB, 4'000'000, {100 * kMiB, 48 * kMiB}},
        Case{"Esp100",
             "-F 32",
             32,
             100 * kMiB,
             10'000'000,
             {200 * kMiB, 90 * kMiB, 106 * kMiB, 300 * kMiB + 512}},
        Case{"Fat32", "-F 32 -s 8", 32, 300 * kMiB, 8'000'000, {400 * kMiB, 280 * kMiB, 1000 * kMiB}},
        Case{
            "Fat32OneTable", "-F 32 -s 1 -f 1", 32, 40 * kMiB, 4'000'000, {50 * kMiB, 100 * kMiB, 37 * kMiB}},
        Case{"Fat32LargeSectors", "-F 32 -S 4096 -s 1", 32, 300 * kMiB, 4'000'000, {600 * kMiB, 290 * kMiB}},
        Case{"Fat32Unaligned",
             "-F 32 -s 2 -R 33 -a",
             32,
             80 * kMiB,
             4'000'000,
             {111 * kMiB, 70 * kMiB + 512}}),
    [](const auto& test) { return std::string(test.param.name); });

// A full one has no room for what the longer tables displace but what it is given.
TEST_F(FatResizeTest, AFullOneGrows) {
    make("-F 32 -s 1", 40 * kMiB);
    std::filesystem::create_directories(directory_ / "files");
    run("head -c 60000000 /dev/urandom >files/all; mcopy -Q -i image files/all :: || true; "
        "mcopy -n -i image ::all files/all || true");
    run("mdel -i image ::all; head -c $(($(fsck.fat -n image | sed 's/.*, [0-9]*.\\([0-9]*\\) .*/\\1/;$!d') "
        "* 512 - "
        "1024)) /dev/urandom >files/all; mcopy -Q -i image files/all ::");
    const FatLayout before = layout();
    EXPECT_GT(smallest(), before.size() - 4 * 512);
    for (const uint64_t size : {40 * kMiB + 512, 40 * kMiB + 8192, 41 * kMiB, 80 * kMiB}) {
        resize(size);
        EXPECT_GE(layout().clusters, before.clusters);
        expect_sound();
    }
    EXPECT_THAT(refusal(39 * kMiB), testing::HasSubstr("doesn't fit"));
}

TEST_F(FatResizeTest, BadClustersStayWhereTheyAre) {
    make("-F 16 -s 4", 30 * kMiB);
    fill(3'000'000);
    const FatLayout before = layout();
    const uint64_t bad = before.clusters / 2;
    ASSERT_EQ(entry(bad), 0u);
    poke_entry(bad, 0xfff7);
    poke_entry(before.clusters + 1, 0xfff7);  // the last
    const uint64_t place = before.cluster_start(bad);
    auto expect_bad = [&] {
        const FatLayout now = layout();
        EXPECT_EQ(entry((place - now.cluster_start(2)) / now.cluster_size() + 2), 0xfff7u);
        expect_sound();
    };
    resize(60 * kMiB);
    ASSERT_GT(layout().data_sector(), before.data_sector());
    expect_bad();
    resize(20 * kMiB);
    expect_bad();
    // What is in use goes around it.
    const uint64_t least = smallest();
    resize(least);
    expect_sound();
    // In the way of the tables.
    make("-F 16 -s 4", 30 * kMiB);
    poke_entry(2, 0xfff7);
    std::filesystem::resize_file(image_, 60 * kMiB);
    EXPECT_THAT(refusal(60 * kMiB), testing::HasSubstr("marked bad"));
}

// A boot sector that reads a file by its place.
TEST_F(FatResizeTest, SyslinuxStaysWhereItIs) {
    make("-F 32 -s 1", 60 * kMiB);
    std::filesystem::create_directories(directory_ / "files");
    run("head -c 60000 /dev/urandom >files/LDLINUX.SYS; head -c 4000000 /dev/urandom >files/other;"
        "mcopy -Q -i image files/LDLINUX.SYS files/other ::");
    const FatLayout before = layout();
    const uint64_t movable = movable_fat_clusters(open_file(image_, O_RDONLY).get(), 0, before);
    EXPECT_EQ(movable, 1u);  // the root directory
    const uint64_t most = largest_fat(before, movable);
    EXPECT_GE(most, before.size());
    EXPECT_LT(most, before.size() + kMiB);
    auto loader = [&](const FatLayout& now) {
        return peek(now.cluster_start(3), 60000) == read_text(directory_ / "files/LDLINUX.SYS");
    };
    ASSERT_TRUE(loader(before));
    resize(80 * kMiB);
    EXPECT_EQ(layout().size(), most);
    EXPECT_TRUE(loader(before));
    expect_sound();
    resize(50 * kMiB);
    EXPECT_TRUE(loader(before));
    expect_sound();
    run("mdel -i image ::LDLINUX.SYS; rm files/LDLINUX.SYS");
    resize(80 * kMiB);
    EXPECT_GT(layout().size(), 79 * kMiB);
    expect_sound();
}

TEST_F(FatResizeTest, ContradictionsAreRefused) {
    make("-F 16 -s 4", 30 * kMiB);
    run("mmd -i image ::dir; head -c 50000 /dev/zero >f; mcopy -Q -i image f ::a; mcopy -Q -i image f "
        "::dir/b");
    const std::string sound = read_text(image_);
    const FatLayout now = layout();
    EXPECT_THAT(refusal(1 * kMiB), testing::HasSubstr("can't be that small"));
    struct Damage {
        uint64_t cluster;
        uint16_t value;
        const char* said;
    };
    const uint64_t last = now.clusters + 1;
    for (const Damage& damage :
         {Damage{5, 5, "chained to itself"}, Damage{2, 2, "chained to itself"}, Damage{5, 3, "used twice"},
          Damage{5, 1, "doesn't exist"}, Damage{5, static_cast<uint16_t>(last + 1), "doesn't exist"},
          Damage{5, static_cast<uint16_t>(last), "isn't in use"}, Damage{6, 0, "isn't in use"},
          Damage{2, 0, "isn't in use"}, Damage{6, 0xfff7, "isn't in use"}}) {
        write_text(image_, sound);
        poke_entry(damage.cluster, damage.value);
        EXPECT_THAT(refusal(25 * kMiB), testing::HasSubstr(damage.said)) << damage.cluster << damage.said;
        EXPECT_THROW(smallest(), Failure);
        EXPECT_THROW(verify_fat(open_file(image_, O_RDONLY).get(), 0, kPoll), Failure);
    }
    // Two names of one file, and of one directory.
    write_text(image_, sound);
    const uint64_t root = now.root_start();
    poke(root + 3 * 32, sound.substr(root + 32, 32));
    EXPECT_THAT(refusal(25 * kMiB), testing::HasSubstr("used twice"));
    // The tables differ; it wasn't unmounted.
    write_text(image_, sound);
    poke(now.table_start(1) + 100, "x");
    EXPECT_THROW(verify_fat(open_file(image_, O_RDONLY).get(), 0, kPoll), Failure);
    write_text(image_, sound);
    poke(37, "\1");
    EXPECT_THROW(verify_fat(open_file(image_, O_RDONLY).get(), 0, kPoll), Failure);
    // Cut off.
    write_text(image_, sound.substr(0, now.table_start(1)));
    EXPECT_THAT(refusal(25 * kMiB), testing::HasSubstr("longer than what it lies on"));
}

// Damage at random: it is refused, and then nothing was written, or it is no worse afterwards.
TEST_F(FatResizeTest, DamageAtRandom) {
    std::mt19937 random(1);
    for (const auto& [options, size] :
         {std::pair("-F 12 -s 1", 1 * kMiB), {"-F 16 -s 1", 4 * kMiB}, {"-F 32 -s 1", 34 * kMiB}}) {
        make(options, size);
        std::filesystem::remove_all(directory_ / "files");
        fill(300'000);
        const std::string sound = read_text(image_);
        const FatLayout now = layout();
        int resized = 0;
        const int rounds = size > 10 * kMiB ? 8 : 60;
        for (int round = 0; round < rounds; ++round) {
            std::string damaged = sound;
            const uint64_t most = now.cluster_start(2) + 200 * now.cluster_size();
            for (unsigned i = 0; i < 1 + round % 3u; ++i) {
                size_t at = random() % most;
                if (round % 2) at = now.table_start(0) + random() % 600;
                damaged[at] = static_cast<char>(random());
                if (round % 2) damaged[at + now.table_size()] = damaged[at];
            }
            const uint64_t wanted = round % 4 < 2 ? size * 2 : size * 3 / 4;
            damaged.resize(std::max(size, size * 2));
            write_text(image_, damaged);
            auto verdict = [&] {
                return std::system(("fsck.fat -n " + image_ + " >/dev/null 2>&1").c_str());
            };
            const int before = verdict();
            try {
                resize_fat(open_file(image_, O_RDWR).get(), 0, wanted, kPoll);
                ++resized;
                if (before == 0) {
                    EXPECT_EQ(verdict(), 0) << options << round;
                }
            } catch (const Failure&) {
                EXPECT_TRUE(read_text(image_) == damaged) << options << round;
            }
        }
        EXPECT_GT(resized, 0);
    }
}

// The number of free clusters that isn't known is, afterwards; a boot sector's copy that isn't one stays.
TEST_F(FatResizeTest, WhatIsBesidesTheBootSector) {
    make("-F 32 -s 1", 40 * kMiB);
    fill(500'000);
    const FatLayout before = layout();
    poke(before.info_sector * 512 + 488, std::string(8, '\xff'));
    poke(before.backup_sector * 512, std::string(512, 'x'));
    resize(50 * kMiB);
    EXPECT_EQ(peek(before.backup_sector * 512, 512), std::string(512, 'x'));
    EXPECT_NE(peek(before.info_sector * 512 + 488, 4), std::string(4, '\xff'));
    poke(before.backup_sector * 512, peek(0, 512));
    expect_sound();
}

}  // namespace
}  // namespace inspect::agent
