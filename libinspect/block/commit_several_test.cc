// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Commits of several images by one journal, on storage that fails: all images are changed or none.
#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "base/temp_dir_for_test.h"
#include "block/commit.h"
#include "block/faulty.h"
#include "block/memory_device.h"
#include "block/overlay.h"
#include "block/recovery.h"
#include "block/store_for_test.h"

namespace inspect {
namespace {

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

}  // namespace
}  // namespace inspect
