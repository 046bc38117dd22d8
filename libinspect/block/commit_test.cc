// SPDX-License-Identifier: LGPL-2.1-or-later
#include "block/commit.h"

#include <sys/stat.h>
#include <sys/wait.h>

#include <chrono>
#include <csignal>
#include <cstring>
#include <memory>

#include "base/temp_dir_for_test.h"
#include "block/faulty.h"
#include "block/memory_device.h"
#include "block/overlay.h"
#include "block/raw.h"
#include "block/recovery.h"

namespace inspect {
namespace {

std::shared_ptr<OverlayStore> make_store(uint64_t size, uint64_t memory_limit = 1 << 20) {
    return std::make_shared<OverlayStore>(OverlayStore::create(size, {memory_limit, {}}));
}

// A small image and a session's changes to it: data in two places, zeros, in memory and spilled, the image's
// end.
struct Scene {
    static constexpr uint64_t kSize = 9 * 4096 + 700;
    Scene() {
        Overlay overlay(std::make_unique<MemoryDevice>(before), store);
        overlay.write(100, random_bytes(random, 5000));
        overlay.write_zeroes(4 * 4096, 2 * 4096, true);
        overlay.write(7 * 4096, random_bytes(random, 512));
        overlay.write(kSize - 10, random_bytes(random, 10));
        overlay.read(0, after);
    }
    std::mt19937_64 random{7};
    Bytes before = random_bytes(random, kSize), after = Bytes(kSize);
    std::shared_ptr<OverlayStore> store = make_store(kSize, 2 * 4096);
};

TEST(Commit, MakesTheChangesTheImages) {
    Scene scene;
    FaultPlan plan;
    FaultyDevice image(scene.before, plan);
    FaultyJournalFile journal(plan);
    EXPECT_TRUE(commit(*scene.store, image, journal, {}));
    EXPECT_EQ(image.contents(), scene.after);
    EXPECT_FALSE(journal.open());
    FaultPlan after;
    image.crash(scene.random, after);  // it is on stable storage
    EXPECT_EQ(image.contents(), scene.after);
}

// The image grows: its tail is written before the mark, and is gone again when there is no mark.
struct GrowingScene {
    static constexpr uint64_t kOld = 3 * 4096 + 700, kNew = 8 * 4096 + 40;
    GrowingScene() {
        Bytes bytes = before;
        bytes.resize(kNew);
        Overlay overlay(std::make_unique<MemoryDevice>(bytes), store);
        overlay.write(600, random_bytes(random, 5000));
        overlay.write(kOld - 10, random_bytes(random, 9000));  // over the old end
        overlay.write_zeroes(6 * 4096, 4096, true);
        overlay.write(kNew - 10, random_bytes(random, 10));
        overlay.read(0, after);
    }
    std::mt19937_64 random{11};
    Bytes before = random_bytes(random, kOld), after = Bytes(kNew);
    std::shared_ptr<OverlayStore> store = make_store(kNew, 2 * 4096);
};

TEST(Commit, OfAnImageThatGrowsIsAllOrNothingToo) {
    GrowingScene scene;
    uint64_t operations = 0;
    {
        FaultPlan plan;
        FaultyDevice image(scene.before, plan);
        FaultyJournalFile journal(plan);
        EXPECT_TRUE(commit(*scene.store, image, journal, {.new_size = GrowingScene::kNew}));
        EXPECT_EQ(image.contents(), scene.after);
        EXPECT_FALSE(journal.open());
        operations = plan.operations();
    }
    ASSERT_GT(operations, 10u);
    for (uint64_t at = 0; at < operations; ++at) {
        for (int round = 0; round < 20; ++round) {
            FaultPlan plan, after;
            plan.cut_at(at);
            FaultyDevice image(scene.before, plan);
            FaultyJournalFile journal(plan);
            EXPECT_THROW(commit(*scene.store, image, journal, {.new_size = GrowingScene::kNew}), PowerCut);
            image.crash(scene.random, after);
            journal.crash(scene.random, after);
            recover(image, journal);
            ASSERT_TRUE(image.contents() == scene.before || image.contents() == scene.after)
                << "cut at operation " << at << ": " << image.contents().size() << " bytes";
            EXPECT_FALSE(journal.open());
        }
        FaultPlan failing;
        failing.fail_at(at);
        FaultyDevice image(scene.before, failing);
        FaultyJournalFile journal(failing);
        bool thrown = false;
        try {
            commit(*scene.store, image, journal, {.new_size = GrowingScene::kNew});
        } catch (const Error&) {
            thrown = true;
        }
        if (journal.open()) recover(image, journal);
        ASSERT_TRUE(image.contents() == scene.before || image.contents() == scene.after)
            << "an error at operation " << at << (thrown ? " was thrown" : "");
    }
}

// The image shrinks: changes in what stays, changes beyond it that nobody wants, and the end is cut off.
struct ShrinkingScene {
    static constexpr uint64_t kOld = 9 * 4096 + 700, kNew = 5 * 4096 + 512;
    ShrinkingScene() {
        Overlay overlay(std::make_unique<MemoryDevice>(before), store);
        overlay.write(600, random_bytes(random, 5000));
        overlay.write(kNew - 10, random_bytes(random, 5000));  // over the new end
        overlay.write_zeroes(2 * 4096, 4 * 4096, true);
        overlay.write(8 * 4096, random_bytes(random, 10));
        Bytes whole(kOld);
        overlay.read(0, whole);
        after.assign(whole.begin(), whole.begin() + kNew);
    }
    std::mt19937_64 random{13};
    Bytes before = random_bytes(random, kOld), after;
    std::shared_ptr<OverlayStore> store = make_store(kOld, 2 * 4096);
};

TEST(Commit, OfAnImageThatShrinksIsAllOrNothingToo) {
    ShrinkingScene scene;
    uint64_t operations = 0;
    {
        FaultPlan plan;
        FaultyDevice image(scene.before, plan);
        FaultyJournalFile journal(plan);
        EXPECT_TRUE(commit(*scene.store, image, journal, {.new_size = ShrinkingScene::kNew}));
        EXPECT_EQ(image.contents(), scene.after);
        EXPECT_FALSE(journal.open());
        operations = plan.operations();
    }
    int cut_images = 0;
    for (uint64_t at = 0; at < operations; ++at) {
        for (int round = 0; round < 20; ++round) {
            FaultPlan plan, after;
            plan.cut_at(at);
            FaultyDevice image(scene.before, plan);
            FaultyJournalFile journal(plan);
            EXPECT_THROW(commit(*scene.store, image, journal, {.new_size = ShrinkingScene::kNew}), PowerCut);
            image.crash(scene.random, after);
            journal.crash(scene.random, after);
            recover(image, journal);
            ASSERT_TRUE(image.contents() == scene.before || image.contents() == scene.after)
                << "cut at operation " << at << ": " << image.contents().size() << " bytes";
            EXPECT_FALSE(journal.open());
            if (image.contents() == scene.after) ++cut_images;
        }
    }
    EXPECT_GT(cut_images, 0);
}

TEST(Commit, ThatOnlyCutsTheEndIsAChange) {
    FaultPlan plan;
    FaultyDevice image(Bytes(9 * 4096, std::byte{5}), plan);
    FaultyJournalFile journal(plan);
    EXPECT_TRUE(commit(*make_store(9 * 4096), image, journal, {.new_size = 4096}));
    EXPECT_EQ(image.contents(), Bytes(4096, std::byte{5}));
}

TEST(Commit, OfNothingDoesNothing) {
    FaultPlan plan;
    Bytes before(50'000, std::byte{3});
    FaultyDevice image(before, plan);
    FaultyJournalFile journal(plan);
    auto store = make_store(before.size());
    EXPECT_FALSE(commit(*store, image, journal, {}));
    Overlay overlay(std::make_unique<MemoryDevice>(before), store);
    overlay.write(5000, Bytes(30'000, std::byte{3}));  // what is there already
    EXPECT_FALSE(store->empty());
    EXPECT_FALSE(commit(*store, image, journal, {}));
    EXPECT_EQ(plan.operations(), 0u);
}

// Cut at every operation, with samples of what the cut may leave; and the recovery is cut at every operation
// too.
TEST(Commit, IsAllOrNothingWhereverItIsCut) {
    Scene scene;
    uint64_t total;
    {
        FaultPlan plan;
        FaultyDevice image(scene.before, plan);
        FaultyJournalFile journal(plan);
        commit(*scene.store, image, journal, {});
        total = plan.operations();
    }
    ASSERT_GT(total, 12u);
    int old_images = 0, new_images = 0;
    for (uint64_t cut = 0; cut <= total; ++cut) {
        for (int sample = 0; sample < 60; ++sample) {
            FaultPlan plan;
            plan.cut_at(cut);
            FaultyDevice image(scene.before, plan);
            FaultyJournalFile journal(plan);
            bool returned = false;
            try {
                commit(*scene.store, image, journal, {});
                returned = true;
            } catch (const PowerCut&) {
            }
            EXPECT_EQ(returned, cut == total);
            // Recover, cut short at one place after the other, until a recovery gets through.
            std::vector<std::unique_ptr<FaultPlan>> plans;
            for (uint64_t recovery_cut = sample % 3 == 0 ? 100 : 0;; ++recovery_cut) {
                plans.push_back(std::make_unique<FaultPlan>());
                image.crash(scene.random, *plans.back());
                journal.crash(scene.random, *plans.back());
                // What returned is over for good: a journal that came back would meet an image that moved on.
                ASSERT_FALSE(returned && journal.open());
                plans.back()->cut_at(recovery_cut);
                try {
                    recover(image, journal);
                    break;
                } catch (const PowerCut&) {
                }
            }
            const bool is_new = image.contents() == scene.after;
            ASSERT_TRUE(is_new || image.contents() == scene.before) << "cut at " << cut;
            ASSERT_FALSE(journal.open());
            ASSERT_TRUE(is_new || !returned);
            ++(is_new ? new_images : old_images);
        }
    }
    EXPECT_GT(old_images, 100);
    EXPECT_GT(new_images, 100);
}

TEST(Commit, IsAllOrNothingWhateverFails) {
    Scene scene;
    for (uint64_t operation = 0;; ++operation) {
        FaultPlan plan;
        plan.fail_at(operation);
        FaultyDevice image(scene.before, plan);
        FaultyJournalFile journal(plan);
        bool returned = false;
        try {
            commit(*scene.store, image, journal, {});
            returned = true;
        } catch (const Error& error) {
            EXPECT_EQ(error.kind(), ErrorKind::kNoSpace);
            if (!journal.open()) {
                EXPECT_TRUE(image.contents() == scene.before || image.contents() == scene.after);
            } else {
                EXPECT_NE(error.message().find("will be finished"), std::string::npos) << error.message();
            }
        }
        FaultPlan healthy;
        image.crash(scene.random, healthy);
        journal.crash(scene.random, healthy);
        recover(image, journal);
        EXPECT_TRUE(image.contents() == scene.before || image.contents() == scene.after);
        if (returned) {
            EXPECT_EQ(image.contents(), scene.after);
            EXPECT_GE(operation, plan.operations());
            break;
        }
    }
}

// ---- several images

// Four images and a session's changes to them. The second one grows, the last one shrinks, and in one nothing
// differs from what was there.
struct Several {
    static constexpr size_t kCount = 4;
    static constexpr uint64_t kSize = 5 * 4096 + 300;
    static constexpr uint64_t kNewSizes[kCount] = {0, 7 * 4096, 0, 4 * 4096 + 512};
    explicit Several(size_t unchanged = 2) {
        for (size_t i = 0; i < kCount; ++i) {
            before[i] = random_bytes(random, kSize);
            after[i] = before[i];
            if (i == 1) after[i].resize(kNewSizes[i]);
            store[i] = make_store(after[i].size());
            Overlay overlay(std::make_unique<MemoryDevice>(after[i]), store[i]);
            if (i == unchanged) {
                overlay.write(4096, std::span(before[i]).subspan(4096, 100));
                continue;
            }
            overlay.write(100 + 4096 * i, random_bytes(random, 5000));
            overlay.write_zeroes(3 * 4096, 4096, true);
            overlay.write(after[i].size() - 10, random_bytes(random, 10));
            overlay.read(0, after[i]);
            if (i == 3) after[i].resize(kNewSizes[i]);
        }
    }
    std::mt19937_64 random{5};
    Bytes before[kCount], after[kCount];
    std::shared_ptr<OverlayStore> store[kCount];
};

// The same on storage that fails.
struct FaultySeveral {
    FaultySeveral(const Several& scene, FaultPlan& plan) : scene_(scene) {
        for (size_t i = 0; i < Several::kCount; ++i) {
            images.push_back(std::make_unique<FaultyDevice>(scene.before[i], plan));
            journals.push_back(std::make_unique<FaultyJournalFile>(plan, path(i) + ".insp-journal"));
            files.add(path(i), *images[i], *journals[i]);
        }
    }
    static std::string path(size_t image) { return "/vm/" + std::to_string(image); }
    bool commit() {
        std::vector<CommitTarget> targets;
        for (size_t i = 0; i < Several::kCount; ++i) {
            targets.push_back({scene_.store[i].get(),
                               images[i].get(),
                               journals[i].get(),
                               {.new_size = Several::kNewSizes[i]},
                               path(i)});
        }
        return inspect::commit(targets);
    }
    Recovery recover(size_t image) { return FoundJournal(*journals[image], &files).recover(*images[image]); }
    void crash(std::mt19937_64& random, FaultPlan& plan) {
        for (size_t i = 0; i < Several::kCount; ++i) {
            images[i]->crash(random, plan);
            journals[i]->crash(random, plan);
        }
    }
    bool all_are(const Bytes (&wanted)[Several::kCount]) const {
        for (size_t i = 0; i < Several::kCount; ++i)
            if (images[i]->contents() != wanted[i]) return false;
        return true;
    }
    bool journal_left() {
        return std::any_of(journals.begin(), journals.end(), [](auto& journal) { return journal->open(); });
    }

    std::vector<std::unique_ptr<FaultyDevice>> images;
    std::vector<std::unique_ptr<FaultyJournalFile>> journals;
    FaultyFiles files;

  private:
    const Several& scene_;
};

uint64_t operations_of(const Several& scene) {
    FaultPlan plan;
    FaultySeveral storage(scene, plan);
    EXPECT_TRUE(storage.commit());
    EXPECT_TRUE(storage.all_are(scene.after));
    EXPECT_FALSE(storage.journal_left());
    return plan.operations();
}

// With one of the images unchanged: the first one, beside which the journal is all the same, or another.
class CommitOfSeveral : public testing::TestWithParam<size_t> {};
INSTANTIATE_TEST_SUITE_P(Unchanged, CommitOfSeveral, testing::Values(0, 2));

// Whatever image is opened first, and then the others: all are old or all are new. With one opened alone it
// is the old one or the new one, and stays what it is.
TEST_P(CommitOfSeveral, IsAllOrNothingWhereverItIsCut) {
    Several scene(GetParam());
    const uint64_t total = operations_of(scene);
    ASSERT_GT(total, 25u);
    int old_images = 0, new_images = 0;
    for (uint64_t cut = 0; cut <= total; ++cut) {
        for (int sample = 0; sample < 60; ++sample) {
            SCOPED_TRACE("cut at " + std::to_string(cut) + ", sample " + std::to_string(sample));
            FaultPlan plan;
            plan.cut_at(cut);
            FaultySeveral storage(scene, plan);
            bool returned = false;
            try {
                storage.commit();
                returned = true;
            } catch (const PowerCut&) {
            }
            EXPECT_EQ(returned, cut == total);
            // In any order, and cut short itself, until a recovery of each gets through.
            std::vector<std::unique_ptr<FaultPlan>> plans;
            uint64_t recovery_cut = sample % 3 == 0 ? 1000 : 0;
            for (size_t done = 0; done < Several::kCount;) {
                plans.push_back(std::make_unique<FaultPlan>());
                storage.crash(scene.random, *plans.back());
                ASSERT_FALSE(returned && storage.journal_left());
                plans.back()->cut_at(recovery_cut++);
                const size_t first = sample % Several::kCount;
                try {
                    for (done = 0; done < Several::kCount; ++done) {
                        const size_t opened = (first + done) % Several::kCount;
                        storage.recover(opened);
                        ASSERT_FALSE(storage.journals[opened]->open());
                        const Bytes& now = storage.images[opened]->contents();
                        ASSERT_TRUE(now == scene.before[opened] || now == scene.after[opened]) << opened;
                    }
                } catch (const PowerCut&) {
                }
            }
            const bool is_new = storage.all_are(scene.after);
            ASSERT_TRUE(is_new || storage.all_are(scene.before));
            ASSERT_FALSE(storage.journal_left());
            ASSERT_TRUE(is_new || !returned);
            ++(is_new ? new_images : old_images);
        }
    }
    EXPECT_GT(old_images, 200);
    EXPECT_GT(new_images, 200);
}

TEST_P(CommitOfSeveral, IsAllOrNothingWhateverFails) {
    Several scene(GetParam());
    const uint64_t total = operations_of(scene);
    for (uint64_t operation = 0; operation < total; ++operation) {
        SCOPED_TRACE("operation " + std::to_string(operation));
        FaultPlan plan;
        plan.fail_at(operation);
        FaultySeveral storage(scene, plan);
        try {
            storage.commit();
            ADD_FAILURE() << "a failure went unnoticed";
        } catch (const Error& error) {
            EXPECT_EQ(error.kind(), ErrorKind::kNoSpace);
            if (!storage.journal_left()) {
                EXPECT_TRUE(storage.all_are(scene.before) || storage.all_are(scene.after));
            } else {
                EXPECT_NE(error.message().find("will be finished"), std::string::npos) << error.message();
            }
        }
        FaultPlan healthy;
        storage.crash(scene.random, healthy);
        for (size_t i = 0; i < Several::kCount; ++i) storage.recover((operation + i) % Several::kCount);
        EXPECT_TRUE(storage.all_are(scene.before) || storage.all_are(scene.after));
        EXPECT_FALSE(storage.journal_left());
    }
}

// Something fails, and while that is cleared up the power is cut.
TEST_P(CommitOfSeveral, IsAllOrNothingWhenItFailsAndIsThenCut) {
    Several scene(GetParam());
    const uint64_t total = operations_of(scene);
    for (uint64_t operation = 0; operation < total; ++operation) {
        for (uint64_t later = 1; later < 15; ++later) {
            for (int sample = 0; sample < 10; ++sample) {
                FaultPlan plan, healthy;
                plan.fail_at(operation);
                plan.cut_at(operation + later);
                FaultySeveral storage(scene, plan);
                try {
                    storage.commit();
                } catch (const PowerCut&) {
                } catch (const Error&) {
                }
                storage.crash(scene.random, healthy);
                for (size_t i = 0; i < Several::kCount; ++i) storage.recover((sample + i) % Several::kCount);
                ASSERT_TRUE(storage.all_are(scene.before) || storage.all_are(scene.after))
                    << "failed at " << operation << ", cut " << later << " later";
                ASSERT_FALSE(storage.journal_left());
            }
        }
    }
}

// A commit that was cut after its mark: what there is to recover.
struct CutAfterTheMark {
    CutAfterTheMark() : storage(scene, plan) {
        FaultPlan counting;
        const uint64_t total = operations_of(scene);
        for (uint64_t cut = total; cut-- > 0;) {
            FaultPlan trying;
            trying.cut_at(cut);
            FaultySeveral attempt(scene, trying);
            EXPECT_THROW(attempt.commit(), PowerCut);
            if (attempt.images[0]->contents() != scene.before[0]) continue;
            plan.cut_at(cut);  // nothing was applied yet
            break;
        }
        EXPECT_THROW(storage.commit(), PowerCut);
        for (size_t i = 0; i < Several::kCount; ++i) {
            storage.images[i]->use(healthy);
            storage.journals[i]->use(healthy);
        }
    }
    Several scene;
    FaultPlan plan, healthy;
    FaultySeveral storage;
};

TEST(CommitOfSeveralImages, IsRefusedWhenAnyImageWasChangedSince) {
    for (size_t changed : {0, 1}) {
        for (size_t opened : {0, 1}) {
            CutAfterTheMark cut;
            Bytes strange(1, ~cut.storage.images[changed]->contents()[4200]);
            cut.storage.images[changed]->write(4200, strange);
            const Bytes other = cut.storage.images[1 - changed]->contents();
            expect_error(ErrorKind::kCorrupt,
                         "the image '" + FaultySeveral::path(changed) + "' was changed by another program",
                         [&] { cut.storage.recover(opened); });
            EXPECT_EQ(cut.storage.images[1 - changed]->contents(), other);
            EXPECT_TRUE(cut.storage.journals[0]->open());
            EXPECT_TRUE(cut.storage.journals[1]->open());
        }
    }
}

TEST(CommitOfSeveralImages, AnImageWithoutItsPointerIsDone) {
    CutAfterTheMark cut;
    cut.storage.journals[1]->remove();
    const Bytes second = cut.storage.images[1]->contents();
    EXPECT_EQ(cut.storage.recover(0), Recovery::kFinished);
    EXPECT_EQ(cut.storage.images[0]->contents(), cut.scene.after[0]);
    EXPECT_EQ(cut.storage.images[1]->contents(), second);
    EXPECT_FALSE(cut.storage.journal_left());
}

TEST(CommitOfSeveralImages, WithoutItsJournalOrAnImageNothingIsTouched) {
    CutAfterTheMark cut;
    const Bytes second = cut.storage.images[1]->contents();
    cut.storage.files.remove(FaultySeveral::path(1));
    expect_error(ErrorKind::kNotFound, "another image as well", [&] { cut.storage.recover(0); });
    EXPECT_EQ(cut.storage.images[0]->contents(), cut.scene.before[0]);
    cut.storage.journals[0]->remove();
    expect_error(ErrorKind::kCorrupt, "/vm/0.insp-journal", [&] { cut.storage.recover(1); });
    EXPECT_EQ(cut.storage.images[1]->contents(), second);
    expect_error(ErrorKind::kUnsupported, "several images",
                 [&] { FoundJournal(*cut.storage.journals[1], nullptr); });
}

// Who may not write sees his image as it will be.
TEST(CommitOfSeveralImages, IsShownToReaders) {
    CutAfterTheMark cut;
    for (size_t i : {0, 1}) {
        FoundJournal found(*cut.storage.journals[i], &cut.storage.files);
        EXPECT_EQ(found.state(), JournalState::kCommitted);
        EXPECT_FALSE(found.alone());
        const Bytes& now = cut.storage.images[i]->contents();
        auto store = make_store(now.size());
        MemoryDevice image(now);
        Overlay overlay(std::make_unique<MemoryDevice>(now), store);
        found.show(image, overlay);
        Bytes seen(now.size());
        overlay.read(0, seen);
        EXPECT_EQ(seen, cut.scene.after[i]);
    }
    EXPECT_EQ(cut.storage.images[0]->contents(), cut.scene.before[0]);
}

TEST(CommitOfSeveralImages, OfNothingDoesNothing) {
    Several scene;
    FaultPlan plan;
    FaultyDevice first(scene.before[0], plan), second(scene.before[2], plan);
    FaultyJournalFile journal(plan, "/vm/0.insp-journal"), pointer(plan, "/vm/1.insp-journal");
    const auto none = make_store(Several::kSize);
    const CommitTarget targets[] = {{none.get(), &first, &journal, {}, "/vm/0"},
                                    {scene.store[2].get(), &second, &pointer, {}, "/vm/1"}};
    EXPECT_FALSE(commit(targets));
    EXPECT_EQ(plan.operations(), 0u);
}

// ---- in real files

TEST(Commit, LeavesHolesHoles) {
    TempDir dir;
    const std::string path = dir.sparse("image", 64 << 20);
    auto store = make_store(64 << 20);
    RawDevice image(open_file(path, O_RDWR), false, path);
    image.write(1 << 20, Bytes(1 << 20, std::byte{1}));
    Overlay overlay(std::make_unique<RawDevice>(open_file(path, O_RDONLY), true, path), store);
    overlay.discard(0, 60 << 20);
    overlay.write(63 << 20, Bytes(1, std::byte{2}));
    PosixJournalFile journal(dir.file("image.insp-journal"), ::geteuid(), ::getegid());
    EXPECT_TRUE(commit(*store, image, journal, {}));
    struct stat st;
    ASSERT_EQ(::stat(path.c_str(), &st), 0);
    EXPECT_EQ(st.st_size, 64 << 20);
    EXPECT_LE(st.st_blocks * 512, 65536);
    Bytes byte(1);
    image.read(63 << 20, byte);
    EXPECT_EQ(byte[0], std::byte{2});
    EXPECT_FALSE(std::filesystem::exists(dir.file("image.insp-journal")));
}

TEST(Commit, StreamsLargeChanges) {
    TempDir dir;
    std::mt19937_64 random(3);
    const uint64_t size = 40 << 20;
    const std::string path = dir.sparse("image", size);
    RawDevice image(open_file(path, O_RDWR), false, path);
    auto store = make_store(size, 4 << 20);
    Overlay overlay(std::make_unique<RawDevice>(open_file(path, O_RDONLY), true, path), store);
    const Bytes data = random_bytes(random, 20 << 20);
    overlay.write(12'345, data);
    PosixJournalFile journal(dir.file("image.insp-journal"), ::geteuid(), ::getegid());
    EXPECT_TRUE(commit(*store, image, journal, {}));
    Bytes out(data.size());
    image.read(12'345, out);
    EXPECT_EQ(out, data);
}

TEST(Commit, KeepsTheFirstSectorFromPosingAsAFormat) {
    Bytes before(10'000);
    MemoryDevice image(before);
    FaultPlan plan;
    FaultyJournalFile journal(plan);
    auto store = make_store(before.size());
    Overlay overlay(std::make_unique<MemoryDevice>(before), store);
    const std::string magic = "QFI\xfb";
    overlay.write(0, std::as_bytes(std::span(magic)));
    expect_error(ErrorKind::kDenied, "look like a qcow2 image",
                 [&] { commit(*store, image, journal, {true}); });
    EXPECT_EQ(image.bytes(), before);
    EXPECT_FALSE(journal.open());
    EXPECT_TRUE(commit(*store, image, journal, {false}));
}

// Image number n of a sequence: every block says which it is, some are zeros in every third.
Bytes numbered_image(uint64_t number) {
    Bytes bytes(256 * 1024);
    for (size_t at = 0; at < bytes.size(); at += 4096) {
        const uint64_t mark = number * 1'000'003 + at;
        if (at / 4096 % 5 == number % 3) continue;
        std::memset(bytes.data() + at, static_cast<int>(mark % 251), 4096);
        std::memcpy(bytes.data() + at, &mark, sizeof mark);
    }
    std::memcpy(bytes.data() + 8, &number, sizeof number);
    return bytes;
}

uint64_t number_of(const Bytes& bytes) {
    uint64_t number;
    std::memcpy(&number, bytes.data() + 8, sizeof number);
    return number;
}

void commit_next(const std::string& path) {
    const Bytes bytes = numbered_image(number_of(read_file(path)) + 1);
    auto store = make_store(bytes.size(), 100'000);
    RawDevice image(open_file(path, O_RDWR), false, path);
    Overlay overlay(std::make_unique<RawDevice>(open_file(path, O_RDONLY), true, path), store);
    overlay.write(0, bytes);
    PosixJournalFile journal(path + ".insp-journal", ::geteuid(), ::getegid());
    commit(*store, image, journal, {});
}

// A process that commits one image after the other is killed at random times; what is found is one of them.
TEST(Commit, SurvivesSigkill) {
    TempDir dir;
    const std::string path = dir.write("image", numbered_image(1));
    const auto start = std::chrono::steady_clock::now();
    commit_next(path);
    const auto one_commit =
        std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::steady_clock::now() - start);
    std::mt19937_64 random(11);
    int interrupted = 0;
    uint64_t seen = 2;
    for (int round = 0; round < 30; ++round) {
        const pid_t child = ::fork();
        ASSERT_GE(child, 0);
        if (child == 0) {
            try {
                while (true) commit_next(path);
            } catch (...) {
                ::_exit(1);
            }
        }
        ::usleep(static_cast<useconds_t>(random() % (2 * static_cast<uint64_t>(one_commit.count()) + 1)));
        ::kill(child, SIGKILL);
        int status;
        ASSERT_EQ(::waitpid(child, &status, 0), child);
        ASSERT_TRUE(WIFSIGNALED(status)) << "the committing process failed";
        RawDevice image(open_file(path, O_RDWR), false, path);
        PosixJournalFile journal(path + ".insp-journal", ::geteuid(), ::getegid());
        if (recover(image, journal) != Recovery::kNothing) ++interrupted;
        const Bytes found = read_file(path);
        ASSERT_GE(number_of(found), seen);
        ASSERT_EQ(found, numbered_image(number_of(found))) << "round " << round;
        ASSERT_FALSE(std::filesystem::exists(path + ".insp-journal"));
        seen = number_of(found);
    }
    EXPECT_GT(seen, 2u);
    EXPECT_GT(interrupted, 0);
}

}  // namespace
}  // namespace inspect
