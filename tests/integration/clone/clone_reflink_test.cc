// SPDX-License-Identifier: GPL-2.0-or-later
//
// insp clone on file systems that share blocks: XFS and btrfs, on loop devices. filefrag says what is shared,
// df what it took.
#include <unistd.h>

#include <functional>

#include "support/insp.h"

namespace inspect::test {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

class CloneReflink : public InspTest {
  protected:
    // A new file system in `place()`. Returns why there is none; empty: it is there.
    std::string mount(const Args& make, uint64_t size) {
        if (geteuid() != 0) return "only root can mount";
        if (!have_program(make[0])) return make[0] + " is not installed";
        const std::string file = scratch() / "disk";
        write_host_file(file, "");
        fs::resize_file(file, size);
        Args command = make;
        command.push_back(file);
        const Outcome made = run(command);
        if (!made.ok()) return made.describe();
        fs::create_directory(place());
        const Outcome mounted = run({"mount", "-o", "loop", file, place()});
        mounted_ = mounted.ok();
        return mounted_ ? "" : "no loop device of this file system can be mounted: " + mounted.describe();
    }
    void TearDown() override {
        if (mounted_) run({"umount", place()});
        InspTest::TearDown();
    }
    fs::path place() const { return scratch() / "mounted"; }
    // Bytes that are free.
    uint64_t room() const {
        run({"sync", "-f", place()});
        return fs::space(place()).free;
    }

    void expect_shared_clones() const {
        const std::string source = place() / "source.img";
        fs::copy_file(guest("large"), source);
        ASSERT_GT(fs::file_size(source), 32 * kMiB);
        for (const char* method : {"reflink", "auto"}) {
            const uint64_t before = room();
            const std::string clone = place() / (std::string(method) + ".img");
            const std::string said =
                insp_ok({"clone", "--format=raw", "--method", method, "-a", source, "-o", clone});
            EXPECT_THAT(said, HasSubstr("reflink"));
            EXPECT_TRUE(same_bytes(source, clone));
            EXPECT_THAT(run({"filefrag", "-v", clone}).out, HasSubstr("shared"));
            EXPECT_LT(before, room() + 4 * kMiB);
        }
        // Elsewhere it can't be shared: refused, or copied.
        const std::string other = scratch() / "other.img";
        EXPECT_TRUE(refused(insp({"clone", "--format=raw", "--method=reflink", "-a", source, "-o", other}),
                            kFailed, "share"));
        EXPECT_FALSE(fs::exists(other));
        EXPECT_THAT(insp_ok({"clone", "--format=raw", "-a", source, "-o", other}), HasSubstr("copy"));
    }

  private:
    bool mounted_ = false;
};

TEST_F(CloneReflink, OnXfs) {
    const std::string lack = mount({"mkfs.xfs", "-q", "-m", "reflink=1"}, 400 * kMiB);
    if (!lack.empty()) GTEST_SKIP() << lack;
    expect_shared_clones();
}

TEST_F(CloneReflink, OnBtrfs) {
    const std::string lack = mount({"mkfs.btrfs", "-q"}, 256 * kMiB);
    if (!lack.empty()) GTEST_SKIP() << lack;
    expect_shared_clones();
}

}  // namespace
}  // namespace inspect::test
