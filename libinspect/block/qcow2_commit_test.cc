// SPDX-License-Identifier: LGPL-2.1-or-later
#include "block/qcow2_commit.h"

#include "base/temp_dir_for_test.h"
#include "block/commit.h"
#include "block/faulty.h"
#include "block/memory_device.h"
#include "block/overlay.h"
#include "block/qcow2/qcow2_for_test.h"
#include "block/recovery.h"

namespace inspect {
namespace {

constexpr uint64_t kSize = 96 * 1024;

enum class Data { kInside, kOutside, kOutsideRaw };

// An image's files.
struct Files {
    Bytes file, data;
    bool operator==(const Files&) const = default;
};

// A small image with small clusters and a session's changes to it: new clusters, old ones in part, zeros. It
// stands on a backing file, or has a data file, or that and is raw.
struct Scene {
    explicit Scene(Data where) : data(where) {
        MemoryDevice file(0), data_file(where == Data::kOutsideRaw ? kSize : 0);
        Qcow2CreateOptions options{.size = kSize, .cluster_bits = 12};
        if (data == Data::kInside) {
            options.backing_name = "b";
            options.backing_format = "raw";
        } else {
            options.data_file_name = "d";
            options.raw_data_file = data == Data::kOutsideRaw;
        }
        create_qcow2(file, options);
        {
            Qcow2Device disk(Qcow2Header::parse(file), borrowed(file, data_file),
                             {.read_only = false, .snapshot = {}});
            disk.write(5000, random_bytes(random, 9000));
            disk.flush();
        }
        before = {file.bytes(), data_file.bytes()};
        const Bytes contents = disk_in(before);
        Overlay overlay(std::make_unique<MemoryDevice>(contents), store);
        overlay.write(6000, random_bytes(random, 700));
        overlay.write(50'000, random_bytes(random, 6000));
        overlay.write_zeroes(80 * 1024, 8192, true);
        disk_after.resize(kSize);
        overlay.read(0, disk_after);
    }
    std::unique_ptr<BlockDevice> backing() const {
        if (data != Data::kInside) return nullptr;
        return std::make_unique<MemoryDevice>(Bytes(kSize, std::byte{6}));
    }
    Qcow2Files borrowed(BlockDevice& file, BlockDevice& data_file) const {
        Qcow2Files files{std::make_unique<BorrowedDevice>(file), backing(), nullptr};
        if (data != Data::kInside) files.data_file = std::make_unique<BorrowedDevice>(data_file);
        return files;
    }
    Bytes disk_in(const Files& files) const {
        MemoryDevice file(files.file), data_file(files.data);
        Qcow2Device disk(Qcow2Header::parse(file), borrowed(file, data_file),
                         {.read_only = true, .snapshot = {}});
        return contents(disk);
    }
    const Data data;
    std::mt19937_64 random{3};
    std::shared_ptr<OverlayStore> store =
        std::make_shared<OverlayStore>(OverlayStore::create(kSize, {1 << 20, {}}));
    Files before;
    Bytes disk_after;
};

// The image's files, on storage that fails.
struct Storage {
    Storage(const Files& contents, FaultPlan& plan)
        : file(contents.file, plan),
          data(contents.data, plan),
          journal(plan, "/vm/image.insp-journal"),
          pointer(plan, "/vm/data.insp-journal") {
        others.add("/vm/image", file, journal);
        others.add("/vm/data", data, pointer);
    }
    bool commit(const Scene& scene, const OverlayStore& changes, uint64_t new_size = 0) {
        MemoryDevice before(scene.before.file), data_before(scene.before.data);
        const Qcow2Change change = stage_qcow2(changes, scene.borrowed(before, data_before), new_size);
        std::vector<CommitTarget> targets;
        targets.push_back(
            {change.file.store.get(), &file, &journal, {.new_size = change.file.size}, "/vm/image"});
        EXPECT_EQ(change.data_file.store != nullptr, scene.data != Data::kInside);
        if (change.data_file.store)
            targets.push_back({change.data_file.store.get(),
                               &data,
                               &pointer,
                               {.new_size = change.data_file.size},
                               "/vm/data"});
        return inspect::commit(targets);
    }
    void crash(std::mt19937_64& random, FaultPlan& plan) {
        file.crash(random, plan);
        data.crash(random, plan);
        journal.crash(random, plan);
        pointer.crash(random, plan);
    }
    void recover() {
        FoundJournal(journal, &others).recover(file);
        FoundJournal(pointer, &others).recover(data);
    }
    Files contents() const { return {file.contents(), data.contents()}; }

    FaultyDevice file, data;
    FaultyJournalFile journal, pointer;
    FaultyFiles others;
};

class CommitToQcow2 : public testing::TestWithParam<Data> {};

// `size` is what the disk gets; 0: it stays.
void cut_everywhere(Data where, uint64_t size) {
    Scene scene(where);
    if (size != 0) scene.disk_after.resize(size);
    FaultPlan whole;
    Storage done(scene.before, whole);
    EXPECT_TRUE(done.commit(scene, *scene.store, size));
    const Files after = done.contents();
    EXPECT_EQ(scene.disk_in(after), scene.disk_after);
    if (scene.data != Data::kOutsideRaw && size == 0) {
        EXPECT_GT(after.file.size() + after.data.size(), scene.before.file.size() + scene.before.data.size());
    }
    if (scene.data == Data::kOutsideRaw) {
        EXPECT_TRUE(std::equal(after.data.begin(), after.data.end(), scene.disk_after.begin()))
            << "the data file is the disk";
    }
    ASSERT_GT(whole.operations(), 12u);
    int old_images = 0, new_images = 0;
    for (uint64_t cut = 0; cut < whole.operations(); ++cut) {
        for (int sample = 0; sample < 40; ++sample) {
            FaultPlan plan, later;
            plan.cut_at(cut);
            Storage storage(scene.before, plan);
            EXPECT_THROW(storage.commit(scene, *scene.store, size), PowerCut);
            storage.crash(scene.random, later);
            storage.recover();
            const bool is_new = storage.contents() == after;
            ASSERT_TRUE(is_new || storage.contents() == scene.before) << "cut at " << cut;
            ++(is_new ? new_images : old_images);
        }
    }
    EXPECT_GT(old_images, 50);
    EXPECT_GT(new_images, 50);
}

TEST_P(CommitToQcow2, IsAllOrNothingWhereverItIsCut) { cut_everywhere(GetParam(), 0); }

TEST_P(CommitToQcow2, IsAllOrNothingWhenTheDiskGrowsToo) { cut_everywhere(GetParam(), 2 * kSize); }

TEST_P(CommitToQcow2, IsAllOrNothingWhenTheDiskShrinksToo) { cut_everywhere(GetParam(), kSize / 2); }

TEST_P(CommitToQcow2, GivesTheDiskAnotherSize) {
    for (const uint64_t size : {kSize / 2, 2 * kSize}) {
        Scene scene(GetParam());
        FaultPlan plan;
        Storage storage(scene.before, plan);
        EXPECT_TRUE(storage.commit(scene, *scene.store, size));
        Bytes wanted = scene.disk_after;
        wanted.resize(size);  // what is new reads as zeros, whatever the backing file has
        EXPECT_EQ(scene.disk_in(storage.contents()), wanted) << size;
        if (scene.data == Data::kOutsideRaw) {
            EXPECT_EQ(storage.data.contents(), wanted);
        }
    }
}

TEST_P(CommitToQcow2, LeavesTheImageWhereNothingDiffers) {
    Scene scene(GetParam());
    FaultPlan plan;
    Storage storage(scene.before, plan);
    auto store = std::make_shared<OverlayStore>(OverlayStore::create(kSize, {1 << 20, {}}));
    const Bytes disk = scene.disk_in(scene.before);
    Overlay overlay(std::make_unique<MemoryDevice>(disk), store);
    overlay.write(5000, std::span(disk).subspan(5000, 100));
    EXPECT_FALSE(storage.commit(scene, *store));
    EXPECT_EQ(plan.operations(), 0u);
}

INSTANTIATE_TEST_SUITE_P(WithDataInThreePlaces, CommitToQcow2,
                         testing::Values(Data::kInside, Data::kOutside, Data::kOutsideRaw));

}  // namespace
}  // namespace inspect
