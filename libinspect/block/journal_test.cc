// SPDX-License-Identifier: LGPL-2.1-or-later
#include "block/journal.h"

#include <sys/stat.h>

#include "base/temp_dir_for_test.h"
#include "block/commit.h"
#include "block/faulty.h"
#include "block/memory_device.h"
#include "block/recovery.h"

namespace inspect {
namespace {

constexpr uint64_t kSize = 64 * 1024 + 300;

// A committed journal over an image of random bytes: some data, zeros, and the odd end of the image.
class Journal : public testing::Test {
  protected:
    void SetUp() override {
        JournalWriter writer(file_, {{kSize, kSize}});
        add(writer, 0, 4096);
        add(writer, 8192, 512);
        writer.add_zero(16384, 20000 / 512 * 512, std::span(before_).subspan(16384, 4096));
        std::fill_n(after_.begin() + 16384, 20000 / 512 * 512, std::byte{0});
        add(writer, 64 * 1024, 300);
        writer.finish();
        uncommitted_ = file_.contents();
        writer.commit();
        committed_ = file_.contents();
    }
    void add(JournalWriter& writer, uint64_t offset, uint64_t length) {
        Bytes data = random_bytes(random_, length);
        writer.add_data(offset, data, std::span(before_).subspan(offset, length));
        std::copy(data.begin(), data.end(), after_.begin() + static_cast<std::ptrdiff_t>(offset));
    }

    std::mt19937_64 random_{1};
    FaultPlan plan_;
    FaultyJournalFile file_{plan_};
    Bytes before_ = random_bytes(random_, kSize), after_ = before_;
    Bytes committed_, uncommitted_;
};

TEST_F(Journal, IsFinishedOnceItIsCommitted) {
    MemoryDevice image(before_);
    EXPECT_EQ(recover(image, file_), Recovery::kFinished);
    EXPECT_EQ(image.bytes(), after_);
    EXPECT_EQ(recover(image, file_), Recovery::kNothing);
}

TEST_F(Journal, IsFinishedFromAnyMixtureOfOldAndNewSectors) {
    for (int round = 0; round < 100; ++round) {
        Bytes mixed = before_;
        for (size_t at = 0; at < kSize; at += 512) {
            if (random_() % 2 == 0) continue;
            std::copy_n(after_.begin() + static_cast<std::ptrdiff_t>(at), std::min<size_t>(512, kSize - at),
                        mixed.begin() + static_cast<std::ptrdiff_t>(at));
        }
        MemoryDevice image(mixed);
        file_.put(committed_);
        EXPECT_EQ(recover(image, file_), Recovery::kFinished);
        EXPECT_EQ(image.bytes(), after_);
    }
}

TEST_F(Journal, IsDiscardedBeforeThat) {
    MemoryDevice image(before_);
    for (size_t length : {size_t{0}, size_t{512}, size_t{4096}, uncommitted_.size()}) {
        file_.put(Bytes(uncommitted_.begin(), uncommitted_.begin() + static_cast<std::ptrdiff_t>(length)));
        EXPECT_EQ(recover(image, file_), Recovery::kDiscarded);
        file_.put(Bytes(length));  // the size was stable sooner than the contents
        EXPECT_EQ(recover(image, file_), Recovery::kDiscarded);
    }
    EXPECT_EQ(image.bytes(), before_);
}

TEST_F(Journal, IsRefusedWhenTheImageWasChangedSince) {
    for (uint64_t at : {uint64_t{0}, uint64_t{8500}, uint64_t{16384 + 4095}, kSize - 1}) {
        Bytes changed = before_;
        changed[at] ^= std::byte{1};
        MemoryDevice image(changed);
        expect_error(ErrorKind::kCorrupt, "changed by another program", [&] { recover(image, file_); });
        EXPECT_EQ(image.bytes(), changed);
        EXPECT_TRUE(file_.open());
    }
    MemoryDevice longer(kSize + 1);
    expect_error(ErrorKind::kCorrupt, "replaced or resized", [&] { recover(longer, file_); });
}

TEST_F(Journal, NoDamageGetsThrough) {
    for (int round = 0; round < 3000; ++round) {
        Bytes damaged = committed_;
        if (round % 3 == 0) {
            damaged.resize(random_() % damaged.size());
        } else {
            damaged[random_() % damaged.size()] ^= static_cast<std::byte>(1 + random_() % 255);
        }
        MemoryDevice image(before_);
        file_.put(damaged);
        try {
            const Recovery recovery = recover(image, file_);
            // Damage in the unused part of the first 4 KiB changes nothing.
            EXPECT_EQ(image.bytes(), recovery == Recovery::kFinished ? after_ : before_);
            EXPECT_TRUE(recovery == Recovery::kFinished || damaged.size() <= 512);
        } catch (const Error& error) {
            EXPECT_EQ(image.bytes(), before_) << error.message();
        }
    }
}

TEST_F(Journal, WhatIsNoJournalIsLeftAlone) {
    MemoryDevice image(before_);
    file_.put(Bytes(10000, std::byte{'x'}));
    expect_error(ErrorKind::kCorrupt, "move it away", [&] { recover(image, file_); });
    Bytes later = committed_;
    later[8] = std::byte{3};
    file_.put(later);  // its header checksum is wrong now
    expect_error(ErrorKind::kCorrupt, "damaged", [&] { recover(image, file_); });
    EXPECT_TRUE(file_.open());
}

TEST(PosixJournalFile, IsPrivateAndTakesNobodyElsesWord) {
    TempDir dir;
    PosixJournalFile file(dir.file("x.insp-journal"), ::geteuid(), ::getegid());
    EXPECT_FALSE(file.open());
    file.create();
    struct stat st;
    ASSERT_EQ(::stat(dir.file("x.insp-journal").c_str(), &st), 0);
    EXPECT_EQ(st.st_mode & 0777, 0600u);
    expect_error(ErrorKind::kBusy, "another program",
                 [&] { PosixJournalFile(dir.file("x.insp-journal"), ::geteuid(), ::getegid()).create(); });
    EXPECT_TRUE(file.open());
    ASSERT_EQ(::chmod(dir.file("x.insp-journal").c_str(), 0666), 0);
    expect_error(ErrorKind::kDenied, "remove it", [&] { file.open(); });
    file.remove();
    dir.write("elsewhere", Bytes(10));
    std::filesystem::create_symlink(dir.file("elsewhere"), dir.file("x.insp-journal"));
    EXPECT_THROW(file.open(), Error);
    if (::geteuid() == 0) {
        std::filesystem::remove(dir.file("x.insp-journal"));
        file.create();
        ASSERT_EQ(::chown(dir.file("x.insp-journal").c_str(), 12345, 12345), 0);
        expect_error(ErrorKind::kDenied, "image's owner", [&] { file.open(); });
        EXPECT_TRUE(PosixJournalFile(dir.file("x.insp-journal"), 12345, 12345).open());
    }
}

TEST(JournalPath, IsBesideAFileAndInTheStateDirectoryForADevice) {
    EXPECT_EQ(journal_path("/vms/a.img", std::nullopt, false), "/vms/a.img.insp-journal");
    TempDir dir;
    ::setenv("XDG_STATE_HOME", dir.file("state").c_str(), 1);
    EXPECT_EQ(journal_path("/dev/sdb", dev_t{0x0810}, true), dir.file("state") + "/libinspect/journal-8-16");
    EXPECT_TRUE(std::filesystem::is_directory(dir.file("state/libinspect")));
    ::unsetenv("XDG_STATE_HOME");
}

}  // namespace
}  // namespace inspect
