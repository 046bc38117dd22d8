// SPDX-License-Identifier: LGPL-2.1-or-later
#include "block/undo_log.h"

#include <cstring>
#include <memory>

#include "base/temp_dir_for_test.h"
#include "base/units.h"
#include "block/borrowed_device_for_test.h"
#include "block/crc32c.h"
#include "block/faulty.h"
#include "block/undo_device.h"

namespace inspect {
namespace {

using namespace journal_format;

// What UndoDevice owns, while the thing itself is the test's.
class BorrowedJournal final : public JournalFile {
  public:
    explicit BorrowedJournal(JournalFile& file) : file_(file) {}
    std::string name() const override { return file_.name(); }
    bool open() override { return file_.open(); }
    void create() override { file_.create(); }
    uint64_t size() override { return file_.size(); }
    void read(uint64_t offset, std::span<std::byte> out) override { file_.read(offset, out); }
    void write(uint64_t offset, std::span<const std::byte> in) override { file_.write(offset, in); }
    void sync() override { file_.sync(); }
    void remove() override { file_.remove(); }
    void sync_name() override { file_.sync_name(); }

  private:
    JournalFile& file_;
};

// An image with data, a hole and what nobody needs, and a change of it all, in two goes, as the appliance and
// the library do it.
struct Scene {
    static constexpr uint64_t kHole = 48 * 4096, kUnused = 80 * 4096, kOld = 120 * 4096 + 700;
    static constexpr uint64_t kMost = kOld + 5 * 4096;

    Scene() {
        std::fill_n(before.begin() + kHole, 16 * 4096, std::byte{0});
        holes.add(kHole, 16 * 4096);
        unused.add(kUnused, 16 * 4096);
    }

    UndoDevice writer(BlockDevice& image, JournalFile& journal) const {
        return {std::make_unique<BorrowedDevice>(image), std::make_unique<BorrowedJournal>(journal)};
    }

    // Ends with an image of `size` bytes.
    void change(BlockDevice& image, JournalFile& journal, uint64_t size) const {
        std::mt19937_64 bytes(5);
        UndoLog::create(journal, image.size(), holes, unused);
        {
            UndoDevice device = writer(image, journal);
            if (size > kOld) device.resize(size);
            device.write(100, random_bytes(bytes, 5000));
            device.write(kHole + 10, random_bytes(bytes, 9000));
            device.write(kUnused - 100, random_bytes(bytes, 30'000));
            device.flush();
            device.write_zeroes(4 * 4096, 30 * 4096, true);
            device.write(100, random_bytes(bytes, 5000));  // once more
        }
        {
            UndoDevice device = writer(image, journal);
            device.discard(0, kOld);
            device.write(kOld - 10, random_bytes(bytes, 10));
            if (size > kOld) device.write(kOld, random_bytes(bytes, 4096));
            device.write(200, random_bytes(bytes, 1));
            device.flush();
        }
        UndoLog(journal).finish(size);
        undo(image, journal);
        remove_for_good(journal);
    }

    // The image is what it was, or what it is to be.
    enum class Found { kOld, kNew, kNeither };
    Found find(Bytes image, const Bytes& after) const {
        if (image == after) return Found::kNew;
        Bytes old = before;
        if (image.size() != old.size()) return Found::kNeither;
        for (Bytes* bytes : {&image, &old}) std::fill_n(bytes->begin() + kUnused, 16 * 4096, std::byte{0});
        return image == old ? Found::kOld : Found::kNeither;
    }

    std::mt19937_64 random{17};
    Bytes before = random_bytes(random, kOld);
    RangeSet holes, unused;
};

class Undo : public ::testing::TestWithParam<uint64_t> {};
INSTANTIATE_TEST_SUITE_P(Sizes, Undo, ::testing::Values(Scene::kOld, Scene::kMost, Scene::kOld - 9 * 4096));

TEST_P(Undo, WhereverItIsCutTheImageIsTheOldOrTheNewOne) {
    Scene scene;
    Bytes after;
    uint64_t operations = 0;
    {
        FaultPlan plan;
        FaultyDevice image(scene.before, plan);
        FaultyJournalFile journal(plan);
        scene.change(image, journal, GetParam());
        EXPECT_FALSE(journal.open());
        FaultPlan later;
        image.crash(scene.random, later);  // it is on stable storage
        after = image.contents();
        EXPECT_EQ(after.size(), GetParam());
        operations = plan.operations();
    }
    ASSERT_GT(operations, 20u);
    int seen[3] = {};
    for (uint64_t at = 0; at < operations; ++at) {
        for (int round = 0; round < 20; ++round) {
            FaultPlan plan;
            plan.cut_at(at);
            FaultyDevice image(scene.before, plan);
            FaultyJournalFile journal(plan);
            EXPECT_THROW(scene.change(image, journal, GetParam()), PowerCut);
            // The power is cut again while it is recovered, and then not.
            for (uint64_t again : {scene.random() % 12, ~uint64_t{0}}) {
                FaultPlan recovering;
                recovering.cut_at(again);
                image.crash(scene.random, recovering);
                journal.crash(scene.random, recovering);
                try {
                    recover(image, journal);
                } catch (const PowerCut&) {
                }
            }
            const Scene::Found found = scene.find(image.contents(), after);
            ASSERT_NE(found, Scene::Found::kNeither) << "cut at operation " << at;
            ++seen[static_cast<int>(found)];
            EXPECT_FALSE(journal.open());
        }
        FaultPlan failing;
        failing.fail_at(at);
        FaultyDevice image(scene.before, failing);
        FaultyJournalFile journal(failing);
        EXPECT_THROW(scene.change(image, journal, GetParam()), Error) << "an error at operation " << at;
        recover(image, journal);
        ASSERT_NE(scene.find(image.contents(), after), Scene::Found::kNeither)
            << "an error at operation " << at;
    }
    EXPECT_GT(seen[0], 0);
    EXPECT_GT(seen[1], 0);
}

TEST(UndoLog, SavesWhatIsOverwrittenOnceAndNothingElse) {
    std::mt19937_64 random(3);
    FaultPlan plan;
    FaultyDevice image(random_bytes(random, 16 * kMiB), plan);
    image.write_zeroes(8 * kMiB, 4 * kMiB, true);
    FaultyJournalFile journal(plan);
    RangeSet unused;
    unused.add(12 * kMiB, 4 * kMiB);
    UndoLog::create(journal, image.size(), {}, unused);
    UndoLog log(journal);
    const uint64_t empty = journal.size();
    log.save(image, 8 * kMiB, 8 * kMiB);  // zeros, and what nobody needs
    EXPECT_LT(journal.size(), empty + 1000);
    log.save(image, 5000, 1);
    const uint64_t one = journal.size();
    EXPECT_LT(one, empty + (66 << 10));
    const uint64_t operations = plan.operations();
    for (uint64_t at = 0; at < 60'000; at += 4096) log.save(image, at, 4096);
    EXPECT_EQ(journal.size(), one);  // its neighbours were saved with it
    EXPECT_EQ(plan.operations(), operations);
}

TEST(UndoLog, IsOneWithTheRedoJournalForWhoOpensTheImage) {
    std::mt19937_64 random(4);
    FaultPlan plan;
    FaultyDevice image(random_bytes(random, 8192), plan);
    FaultyJournalFile journal(plan);
    UndoLog::create(journal, image.size(), {}, {});
    EXPECT_EQ(JournalReader(journal).state(), JournalState::kUndo);
    const FoundJournal found(journal, nullptr);
    EXPECT_TRUE(found.alone());
    EXPECT_EQ(recover(image, journal), Recovery::kDiscarded);
    EXPECT_FALSE(journal.open());
}

TEST(UndoLog, WhatIsDamagedIsRefusedAndNothingIsTouched) {
    constexpr uint64_t kSize = 24 << 20;
    std::mt19937_64 random(6);
    FaultPlan plan;
    const Bytes before = random_bytes(random, kSize);
    FaultyDevice image(before, plan);
    FaultyJournalFile journal(plan);
    UndoLog::create(journal, kSize, {}, {});
    {
        UndoLog log(journal);
        for (uint64_t at = 0; at < kSize; at += 1 << 20) {
            log.save(image, at, 1 << 20);
            image.write_zeroes(at, 1 << 20, true);
        }
    }
    const Bytes changed = image.contents(), good = journal.contents();
    const auto refused = [&](uint64_t at, const char* text) {
        Bytes bad = good;
        bad[at] ^= std::byte{1};
        journal.put(bad);
        expect_error(ErrorKind::kCorrupt, text, [&] { recover(image, journal); });
        EXPECT_EQ(image.contents(), changed);
    };
    refused(0, "is none");
    refused(20, "header");
    refused(kMarkOffset, "mark");
    refused(kBodyOffset + 8, "a record is wrong");
    refused(kBodyOffset + 1000, "a record is wrong");
    journal.put(good);
    image.resize(kSize - 512);
    expect_error(ErrorKind::kCorrupt, "replaced or cut", [&] { recover(image, journal); });
    image.resize(kSize);
    recover(image, journal);
    Bytes now = image.contents();
    now.resize(kSize - 512);
    EXPECT_TRUE(std::equal(now.begin(), now.end(), before.begin()));
}

TEST(UndoLog, WritesNothingMoreWhenItCouldNotBeWritten) {
    std::mt19937_64 random(8);
    FaultPlan plan;
    FaultyDevice image(random_bytes(random, 1 << 20), plan);
    FaultyJournalFile journal(plan);
    UndoLog::create(journal, image.size(), {}, {});
    UndoLog log(journal);
    plan.fail_at(plan.operations() + 1);  // the sync
    EXPECT_THROW(log.save(image, 0, 4096), Error);
    EXPECT_THROW(log.save(image, 0, 4096), Error);
    EXPECT_THROW(log.save(image, 1 << 19, 4096), Error);
}

}  // namespace
}  // namespace inspect
