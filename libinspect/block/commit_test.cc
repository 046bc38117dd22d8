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
#include "block/store_for_test.h"

namespace inspect {
namespace {

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

// Set aside by fallocate() and never written, it is a hole to whoever asks for data, but takes room.
TEST(Commit, GivesBackWhatWasSetAside) {
    constexpr uint64_t kSize = 4 << 20;
    TempDir dir;
    const std::string path = dir.sparse("image", kSize);
    RawDevice image(open_file(path, O_RDWR), false, path);
    image.reserve(0, kSize);
    struct stat status;
    ASSERT_EQ(::stat(path.c_str(), &status), 0);
    if (status.st_blocks * 512 < int64_t{kSize}) GTEST_SKIP() << "this file system sets nothing aside";
    image.write(kSize / 2, Bytes(4096, std::byte{1}));
    auto store = make_store(kSize);
    {
        Overlay overlay(std::make_unique<RawDevice>(open_file(path, O_RDONLY), true, path), store);
        overlay.discard(0, kSize / 2);
        overlay.discard(kSize / 2 + 4096, kSize / 2 - 4096);
    }
    PosixJournalFile journal(path + ".journal", ::geteuid(), ::getegid());
    const Bytes before = read_file(path);
    commit(*store, image, journal, {.give_back = true});
    EXPECT_EQ(read_file(path), before);
    ASSERT_EQ(::stat(path.c_str(), &status), 0);
    EXPECT_LT(status.st_blocks * 512, 64 << 10);
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
