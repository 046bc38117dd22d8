// SPDX-License-Identifier: LGPL-2.1-or-later
//
// The parts of making and forgetting backups that need no image.
#include <fcntl.h>
#include <stdlib.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <set>

#include <inspect/backup.h>

#include "backup/retention.h"
#include "backup/save_disk.h"
#include "backup/workers.h"
#include "base/subprocess.h"
#include "block/ext_free_space.h"
#include "block/memory_device.h"
#include "block/partitions.h"
#include "block/raw.h"
#include "repository/repository_for_test.h"

namespace inspect {
namespace {

using repository::ObjectId;

constexpr int64_t kDay = 86'400'000'000'000;

size_t kept(const std::vector<bool>& keep) {
    return static_cast<size_t>(std::count(keep.begin(), keep.end(), true));
}

TEST(Retention, KeepsTheNewestOfEachPeriod) {
    ::setenv("TZ", "UTC", 1);
    std::vector<int64_t> times;
    for (int i = 0; i < 400; ++i) times.push_back(20'000 * kDay - i * kDay / 2);
    RetentionPolicy policy;
    EXPECT_TRUE(policy.empty());
    policy.last = 3;
    EXPECT_EQ(kept(apply_policy(times, policy)), 3U);
    policy = {};
    policy.daily = 7;
    const auto daily = apply_policy(times, policy);
    EXPECT_EQ(kept(daily), 7U);
    EXPECT_TRUE(daily[0]);
    EXPECT_TRUE(daily[1]) << "the day before's newest";
    EXPECT_FALSE(daily[2]);
    policy = {};
    policy.weekly = 4;
    policy.monthly = 6;
    EXPECT_GE(kept(apply_policy(times, policy)), 8U);
    policy = {};
    policy.within_seconds = 86'400;
    EXPECT_EQ(kept(apply_policy(times, policy)), 3U);
    EXPECT_TRUE(apply_policy({}, policy).empty());
}

TEST(Workers, DoEachOnceAndPassErrorsOn) {
    std::vector<std::atomic<int>> done(1000);
    int ticks = 0;
    work_in_parallel(
        1000, 4, [&](size_t i) { ++done[i]; }, [&] { ++ticks; });
    for (const auto& count : done) EXPECT_EQ(count, 1);
    EXPECT_GE(ticks, 1);
    EXPECT_THROW(work_in_parallel(1000, 4,
                                  [](size_t i) {
                                      if (i == 500) throw Error(ErrorKind::kNoSpace, "full");
                                  },
                                  {}),
                 Error);
    work_in_parallel(0, 4, [](size_t) { FAIL(); }, {});
}

TEST(SaveDisk, ZerosAreNamedByTheUnit) {
    const repository::TestRepository test;
    const auto repository = test.open();
    repository::BlobWriter writer(*repository, {});
    MemoryDevice disk((20 << 20) + 100);
    const std::byte one{1};
    disk.write(17 << 20, std::span(&one, 1));
    SaveDiskOptions options;
    options.zero_unit = 16 << 20;
    options.threads = 3;
    SaveDiskCounters counters;
    const auto ids = DiskSaver(disk, options, counters).save(writer);
    ASSERT_EQ(ids.size(), 1U + 8U + 1U);
    EXPECT_EQ(ids[0], repository::zero_blob_id(16 << 20));
    EXPECT_EQ(ids[1], repository::zero_blob_id(kDefaultChunkSize));
    EXPECT_NE(ids[3], ids[1]);
    EXPECT_EQ(ids[9], repository::zero_blob_id(100));
    EXPECT_EQ(counters.done, disk.size());
    writer.flush();
    repository::TreeNode file{.name = "d", .type = "file", .size = disk.size(), .content = ids};
    const repository::DiskContents contents(
        *repository, file, {kDefaultChunkSize, options.zero_unit, disk.size() % kDefaultChunkSize});
    EXPECT_TRUE(contents.chunk(0).zero);
    EXPECT_FALSE(contents.chunk(3).zero);
    EXPECT_TRUE(contents.chunk(9).zero);
    EXPECT_EQ(contents.find(17 << 20), 3U);
    EXPECT_EQ(contents.find(disk.size() - 1), 9U);

    // What is unused is not read, and is zeros; what is unchanged is the parent's.
    RangeSet unused, unchanged;
    unused.add(17 << 20, 4096);
    options.unused = &unused;
    SaveDiskCounters second;
    EXPECT_EQ(DiskSaver(disk, options, second).save(writer)[1], repository::zero_blob_id(kDefaultChunkSize));
    unchanged.add(0, disk.size());
    options.unused = nullptr;
    options.unchanged = &unchanged;
    options.parent = &contents;
    SaveDiskCounters third;
    EXPECT_EQ(DiskSaver(disk, options, third).save(writer), ids);
    EXPECT_EQ(third.read, 0U);
    EXPECT_EQ(third.unchanged, disk.size());
}

class HashAhead : public testing::Test {
  protected:
    HashAhead() {
        options_.zero_unit = 16 << 20;
        options_.threads = 3;
        std::mt19937_64 random(1);
        for (uint64_t at : {0, 512 << 10, 700 << 10, 5 << 20, 33 << 20}) {
            const auto noise = random_bytes(random, 800 << 10);
            disk_.write(at, noise);
        }
    }

    // Each blob is in the repository (read_blob() checks that it is what its id says) and is what the disk
    // has.
    void expect_saved(const std::vector<ObjectId>& ids) {
        uint64_t at = 0;
        for (const ObjectId& id : ids) {
            const repository::Bytes stored = repository_->read_blob(repository::BlobType::kData, id);
            repository::Bytes now(stored.size());
            disk_.read(at, now);
            EXPECT_EQ(stored, now) << at;
            at += stored.size();
        }
        EXPECT_EQ(at, disk_.size());
    }

    const repository::TestRepository test_;
    const std::unique_ptr<repository::Repository> repository_ = test_.open();
    repository::BlobWriter writer_{*repository_, {}};
    MemoryDevice disk_{(40 << 20) + 100};
    SaveDiskOptions options_;
    SaveDiskCounters counters_;
};

TEST_F(HashAhead, WhatTheRepositoryLacksIsReadAgain) {
    DiskSaver saver(disk_, options_, counters_);
    saver.hash_ahead([] { return false; });
    EXPECT_EQ(counters_.done, disk_.size());
    const uint64_t once = counters_.read;
    EXPECT_GT(once, 0U);
    const auto ids = saver.save(writer_);
    EXPECT_EQ(counters_.done, disk_.size());
    EXPECT_EQ(counters_.read, once);
    writer_.flush();
    expect_saved(ids);

    SaveDiskCounters second;
    DiskSaver again(disk_, options_, second);
    again.hash_ahead([] { return false; });
    const uint64_t new_before = writer_.totals().new_blobs, known_before = writer_.totals().known_blobs;
    EXPECT_EQ(again.save(writer_), ids);
    EXPECT_EQ(second.read, once);
    EXPECT_EQ(writer_.totals().new_blobs, new_before);
    EXPECT_GT(writer_.totals().known_blobs, known_before);
}

TEST_F(HashAhead, MayEndAtAnySlice) {
    std::vector<ObjectId> all;
    for (int slices : {0, 1, 3, 20}) {
        SaveDiskCounters counters;
        DiskSaver saver(disk_, options_, counters);
        std::atomic<int> left{slices};
        saver.hash_ahead([&left] { return left-- <= 0; });
        const auto ids = saver.save(writer_);
        EXPECT_EQ(counters.done, disk_.size());
        if (all.empty()) all = ids;
        EXPECT_EQ(ids, all) << slices;
    }
    writer_.flush();
    expect_saved(all);
}

// The image's owner is told that it changed, elsewhere; a blob is never stored by another's name.
TEST_F(HashAhead, AnImageThatChangedIsNamedByWhatIsSaved) {
    DiskSaver saver(disk_, options_, counters_);
    saver.hash_ahead([] { return false; });
    const repository::Bytes zeros(512 << 10);
    const std::byte one{1};
    disk_.write(5 << 20, zeros);
    disk_.write(100, std::span(&one, 1));
    const auto ids = saver.save(writer_);
    writer_.flush();
    expect_saved(ids);
}

TEST_F(HashAhead, PassesErrorsOn) {
    DiskSaver saver(disk_, options_, counters_);
    EXPECT_THROW(saver.hash_ahead([]() -> bool { throw Error(ErrorKind::kCancelled, "enough"); }), Error);
}

// Nothing is written, and the error is the password's, whenever it is told.
TEST(CreateInBackground, AWrongPasswordLeavesNothing) {
    const repository::TestRepository test;
    const std::string image = test.dir().file("disk.img");
    {
        std::ofstream file(image);
        file << std::string(3 << 20, 'x');
    }
    std::ofstream(test.dir().file("password")) << "not it\n";
    const auto files = [&] {
        std::set<std::string> names;
        for (const auto& entry : std::filesystem::recursive_directory_iterator(test.path()))
            names.insert(entry.path());
        return names;
    };
    const auto before = files();
    BackupRepository repository({.location = test.path(), .password_file = test.dir().file("password")},
                                true);
    for (int i = 0; i < 2; ++i) {
        expect_error(ErrorKind::kDenied, "password",
                     [&] { repository.create({.name = "guest", .disks = {{.path = image}}}, {}); });
        expect_error(ErrorKind::kDenied, "password", [&] { repository.wait_until_open(); });
    }
    EXPECT_EQ(files(), before);
}

TEST(CreateInBackground, AnErrorOfTheImageEndsItAndTheNextGuestIsSaved) {
    const repository::TestRepository test;
    const std::string image = test.dir().file("disk.img");
    std::ofstream(image) << std::string(3 << 20, 'x');
    std::ofstream(test.dir().file("password")) << repository::kTestPassword << "\n";
    BackupRepository repository({.location = test.path(), .password_file = test.dir().file("password")},
                                true);
    BackupOptions stopped;
    stopped.on_progress = [](const BackupProgress&) { throw Error(ErrorKind::kCancelled, "stopped"); };
    const BackupGuest guest{.name = "guest", .disks = {{.path = image}}};
    expect_error(ErrorKind::kCancelled, "stopped", [&] { repository.create(guest, stopped); });
    EXPECT_TRUE(repository.list().empty());
    EXPECT_EQ(repository.create(guest, {}).disk_size, 3U << 20);
    EXPECT_EQ(repository.list().size(), 1U);
}

// mke2fs makes it, debugfs says what is free.
TEST(ExtFreeSpace, IsWhatDebugfsSays) {
    if (find_program("mke2fs").empty() || find_program("debugfs").empty())
        GTEST_SKIP() << "e2fsprogs are not installed";
    const TempDir dir;
    struct Kind {
        uint64_t block;
        std::vector<std::string> features;
    };
    for (const auto& [block, features] : {Kind{4096, {"-t", "ext2"}},
                                          {1024, {"-t", "ext3"}},
                                          {4096, {"-t", "ext4"}},
                                          {1024, {"-t", "ext4"}},
                                          {4096, {"-t", "ext4", "-O", "^64bit,^flex_bg"}},
                                          {4096, {"-t", "ext4", "-O", "^metadata_csum,^uninit_bg"}}}) {
        const std::string image = dir.sparse("fs.img", 200 << 20);
        std::vector<std::string> make{find_program("mke2fs"), "-q", "-F", "-b", std::to_string(block)};
        make.insert(make.end(), features.begin(), features.end());
        make.push_back(image);
        ASSERT_EQ(run_program(make, std::chrono::seconds(60), 1 << 20).status, 0);
        RawDevice disk(open_file(image, O_RDONLY), true, image);
        RangeSet free;
        ASSERT_EQ(find_ext_free_space(disk, 0, disk.size(), free), ExtResult::kRead) << features.back();
        ASSERT_FALSE(free.empty());
        // A sample: the first and the last block of free ranges. (That a block is used which isn't said to be
        // free costs nothing but its reading: groups whose bitmaps were never written are such.)
        std::vector<uint64_t> samples;
        for (const auto& [begin, end] : free.ranges()) {
            samples.push_back(begin / block);
            samples.push_back(end / block - 1);
        }
        for (size_t i = 0; i < std::min<size_t>(samples.size(), 30); ++i) {
            const auto said =
                run_program({find_program("debugfs"), "-R", "testb " + std::to_string(samples[i]), image},
                            std::chrono::seconds(60), 1 << 20);
            EXPECT_NE(said.output.find("not in use"), std::string::npos) << said.output;
        }
    }
    MemoryDevice nothing(1 << 20);
    RangeSet free;
    EXPECT_EQ(find_ext_free_space(nothing, 0, nothing.size(), free), ExtResult::kNone);
}

TEST(Partitions, OfTablesThatSfdiskMakes) {
    if (find_program("sfdisk").empty()) GTEST_SKIP() << "sfdisk is not installed";
    const TempDir dir;
    for (const char* script : {"label: gpt\nsize=4MiB\nsize=8MiB\n",
                               "label: dos\nsize=4MiB\nsize=20MiB,type=5\nsize=3MiB\nsize=2MiB\n"}) {
        const std::string image = dir.sparse("disk.img", 64 << 20), text = dir.file("script");
        std::ofstream(text) << script;
        ASSERT_EQ(::system(("sfdisk -q " + image + " < " + text).c_str()), 0);
        RawDevice disk(open_file(image, O_RDONLY), true, image);
        const auto found = find_partitions(disk, 512);
        const bool gpt = std::string_view(script).starts_with("label: gpt");
        ASSERT_EQ(found.size(), gpt ? 2U : 3U);
        EXPECT_EQ(found[0].offset, 1U << 20);
        EXPECT_EQ(found[0].length, 4U << 20);
        EXPECT_EQ(found[1].length, gpt ? 8U << 20 : 3U << 20);
    }
    MemoryDevice empty(1 << 20);
    ASSERT_EQ(find_partitions(empty, 512).size(), 1U);
    EXPECT_EQ(find_partitions(empty, 512)[0].length, 1U << 20);
}

}  // namespace
}  // namespace inspect
