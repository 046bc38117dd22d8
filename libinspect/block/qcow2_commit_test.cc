// SPDX-License-Identifier: LGPL-2.1-or-later
#include "block/qcow2_commit.h"

#include "base/temp_dir_for_test.h"
#include "block/commit.h"
#include "block/faulty.h"
#include "block/memory_device.h"
#include "block/overlay.h"
#include "block/qcow2/qcow2_for_test.h"

namespace inspect {
namespace {

constexpr uint64_t kSize = 96 * 1024;

// A small image with small clusters, on a backing file, and a session's changes to it: new clusters, old ones
// in part, zeros.
struct Scene {
    Scene() {
        MemoryDevice bytes(0);
        create_qcow2(bytes,
                     {.size = kSize, .cluster_bits = 12, .backing_name = "b", .backing_format = "raw"});
        {
            Qcow2Device disk(Qcow2Header::parse(bytes),
                             {std::make_unique<BorrowedDevice>(bytes), backing(), nullptr},
                             {.read_only = false, .snapshot = {}});
            disk.write(5000, random_bytes(random, 9000));
            disk.flush();
        }
        before = bytes.bytes();
        Bytes contents = disk_in(before);
        Overlay overlay(std::make_unique<MemoryDevice>(contents), store);
        overlay.write(6000, random_bytes(random, 700));
        overlay.write(50'000, random_bytes(random, 6000));
        overlay.write_zeroes(80 * 1024, 8192, true);
        disk_after.resize(kSize);
        overlay.read(0, disk_after);
    }
    static std::unique_ptr<BlockDevice> backing() {
        return std::make_unique<MemoryDevice>(Bytes(kSize, std::byte{6}));
    }
    static Bytes disk_in(const Bytes& image) {
        auto file = std::make_unique<MemoryDevice>(image);
        const Qcow2Header header = Qcow2Header::parse(*file);
        Qcow2Device disk(header, {std::move(file), backing(), nullptr}, {.read_only = true, .snapshot = {}});
        Bytes contents(kSize);
        disk.read(0, contents);
        return contents;
    }
    bool commit(BlockDevice& file, JournalFile& journal) const {
        return commit_to_qcow2(*store, std::make_unique<MemoryDevice>(before), backing(), file, journal);
    }
    std::mt19937_64 random{3};
    std::shared_ptr<OverlayStore> store =
        std::make_shared<OverlayStore>(OverlayStore::create(kSize, {1 << 20, {}}));
    Bytes before, disk_after;
};

TEST(CommitToQcow2, GivesTheDiskAnotherSize) {
    for (const uint64_t size : {kSize / 2, 2 * kSize}) {
        Scene scene;
        MemoryDevice file(scene.before);
        FaultPlan plan;
        FaultyJournalFile journal(plan);
        EXPECT_TRUE(commit_to_qcow2(*scene.store, std::make_unique<MemoryDevice>(scene.before),
                                    Scene::backing(), file, journal, size));
        const Qcow2Header header = Qcow2Header::parse(file);
        EXPECT_EQ(header.size, size);
        Qcow2Device disk(header, {std::make_unique<BorrowedDevice>(file), Scene::backing(), nullptr},
                         {.read_only = true, .snapshot = {}});
        Bytes contents(size);
        disk.read(0, contents);
        Bytes wanted = scene.disk_after;
        wanted.resize(size);  // what is new reads as zeros, whatever the backing file has
        EXPECT_EQ(contents, wanted) << size;
    }
}

TEST(CommitToQcow2, IsAllOrNothingWhereverItIsCut) {
    Scene scene;
    FaultPlan whole;
    FaultyDevice done(scene.before, whole);
    FaultyJournalFile no_journal(whole);
    EXPECT_TRUE(scene.commit(done, no_journal));
    const Bytes after = done.contents();
    EXPECT_EQ(Scene::disk_in(after), scene.disk_after);
    EXPECT_GT(after.size(), scene.before.size());
    ASSERT_GT(whole.operations(), 12u);
    int old_images = 0, new_images = 0;
    for (uint64_t cut = 0; cut < whole.operations(); ++cut) {
        for (int sample = 0; sample < 40; ++sample) {
            FaultPlan plan, later;
            plan.cut_at(cut);
            FaultyDevice image(scene.before, plan);
            FaultyJournalFile journal(plan);
            EXPECT_THROW(scene.commit(image, journal), PowerCut);
            image.crash(scene.random, later);
            journal.crash(scene.random, later);
            recover(image, journal);
            const bool is_new = image.contents() == after;
            ASSERT_TRUE(is_new || image.contents() == scene.before) << "cut at " << cut;
            ++(is_new ? new_images : old_images);
        }
    }
    EXPECT_GT(old_images, 50);
    EXPECT_GT(new_images, 50);
}

TEST(CommitToQcow2, LeavesTheImageWhereNothingDiffers) {
    Scene scene;
    FaultPlan plan;
    FaultyDevice image(scene.before, plan);
    FaultyJournalFile journal(plan);
    auto store = std::make_shared<OverlayStore>(OverlayStore::create(kSize, {1 << 20, {}}));
    const Bytes contents = Scene::disk_in(scene.before);
    Overlay overlay(std::make_unique<MemoryDevice>(contents), store);
    overlay.write(5000, std::span(contents).subspan(5000, 100));
    EXPECT_FALSE(commit_to_qcow2(*store, std::make_unique<MemoryDevice>(scene.before), Scene::backing(),
                                 image, journal));
    EXPECT_EQ(plan.operations(), 0u);
}

}  // namespace
}  // namespace inspect
