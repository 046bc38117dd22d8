// SPDX-License-Identifier: GPL-2.0-or-later
//
// insp resize of a logical volume of the host's, which a loop device plays, with an lvm that was made up:
// what is new has garbage, as real volumes' have. Judges: e2fsck, debugfs, the volume's size. (With real
// ones: tests/boot/host-proof.)
#include <signal.h>
#include <unistd.h>

#include <cstdlib>

#include "support/insp.h"

namespace inspect::test {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

class ResizeVolume : public ApplianceTest {
  protected:
    void SetUp() override {
        ApplianceTest::SetUp();
        if (IsSkipped()) return;
        if (geteuid() != 0) GTEST_SKIP() << "only root can make a block device";
        image_ = copy_of("ext4", "volume.img");
        const Outcome loop = run({"losetup", "--find", "--show", image_});
        if (!loop.ok()) GTEST_SKIP() << "there is no loop device: " << loop.describe();
        device_ = loop.out.substr(0, loop.out.find('\n'));
        fs::create_directory(scratch() / "bin");
        fs::create_directory(scratch() / "state");
        say("linear", "public", 64 * kMiB);
        script("lvextend", resize_commands());
        script("lvreduce", resize_commands());
    }
    void TearDown() override {
        if (!device_.empty()) run({"losetup", "--detach", device_});
        fs::remove_all(scratch() / "state");
        ApplianceTest::TearDown();
    }

    void script(const std::string& name, const std::string& commands) const {
        write_host_file(scratch() / "bin" / name, "#!/bin/sh\n" + commands);
        fs::permissions(scratch() / "bin" / name, fs::perms(0755));
    }
    // What lvs answers.
    void say(const std::string& layout, const std::string& role, uint64_t room) const {
        script("lvs",
               "cat <<END\n"
               R"({"report":[{"seg":[{"vg_name":"vg","lv_name":"lv","pool_lv":"","stripes":"1",)"
               R"("lv_layout":")" +
                   layout + R"(","lv_role":")" + role + R"(","lv_size":"$(blockdev --getsize64 )" + device_ +
                   R"lvs()","vg_extent_size":"4194304","vg_free":")lvs" + std::to_string(room) +
                   "\"}]}]}\nEND\n");
    }
    // Of an lvm that knows no --fs.
    std::string resize_commands() const {
        return "[ \"$1\" != --fs ] || exit 3\n"
               "new=${4%b} old=$(stat -c %s '" +
               image_ +
               "')\n"
               "truncate -s $new '" +
               image_ +
               "'\n"
               "[ $new -lt $old ] || head -c $((new - old)) /dev/zero | tr '\\0' '\\252' | "
               "dd of='" +
               image_ +
               "' seek=$old oflag=seek_bytes conv=notrunc status=none\n"
               "losetup --set-capacity " +
               device_ + "\n";
    }
    // insp with this lvm; it may end by a signal.
    Outcome volume(const Args& args) const {
        Options options;
        options.env["PATH"] = (scratch() / "bin").string() + ":" + std::getenv("PATH");
        options.env["XDG_STATE_HOME"] = scratch() / "state";
        return run(command(args), environment(options));
    }
    Outcome resize(const std::string& size, const Args& more = {}) const {
        Args args = {"resize", "--format=raw", "-a", device_, "--size", size};
        args.insert(args.end(), more.begin(), more.end());
        return volume(args);
    }
    uint64_t size() const { return fs::file_size(image_); }
    void expect_sound(uint64_t bytes) const {
        run({"sync"});
        EXPECT_TRUE(ext_is_clean(image_));
        EXPECT_EQ(debugfs(image_, "cat /hello.txt"), "hello, guest\n");
        const std::string stats = debugfs(image_, "stats");
        EXPECT_EQ(std::stoull(stats.substr(stats.find("Block count:") + 12)) * 1024, bytes);
    }
    void expect_nothing_left() const { EXPECT_TRUE(fs::is_empty(scratch() / "state/libinspect")); }

    std::string image_, device_;
};

TEST_F(ResizeVolume, GrowsAndShrinks) {
    const std::string before = sha256(image_);
    Outcome outcome = resize("+30M", {"--dry-run"});
    EXPECT_THAT(outcome.out, HasSubstr("40")) << outcome.describe();
    EXPECT_EQ(sha256(image_), before);

    outcome = resize("+30M");  // whole extents, and not less
    ASSERT_TRUE(outcome.ok()) << outcome.describe();
    EXPECT_EQ(size(), 40 * kMiB);
    expect_sound(40 * kMiB);

    outcome = resize("-26M");  // not more
    ASSERT_TRUE(outcome.ok()) << outcome.describe();
    EXPECT_EQ(size(), 12 * kMiB);
    expect_sound(12 * kMiB);
    expect_nothing_left();
}

TEST_F(ResizeVolume, RefusesBeforeAnythingIsWritten) {
    const std::string before = sha256(image_);
    say("linear", "public", 4 * kMiB);
    EXPECT_TRUE(refused(resize("+8M"), kFailed, "4 MiB free"));
    say("linear", "public,origin,thickorigin", 64 * kMiB);
    EXPECT_TRUE(refused(resize("+8M"), kFailed, "has snapshots"));
    EXPECT_TRUE(refused(resize("-4M", {"--dry-run"}), kFailed, "has snapshots"));
    say("linear", "public,snapshot,thicksnapshot", 64 * kMiB);
    EXPECT_TRUE(refused(resize("+8M"), kFailed, "is a snapshot"));
    script("lvs", "echo '{\"report\":[{\"lv\":[]}]}'\n");
    EXPECT_TRUE(refused(resize("+8M"), kFailed, "logical volumes"));
    say("linear", "public", 64 * kMiB);
    script("lvextend", "echo '  Device is on fire.' >&2; exit 5\n");
    EXPECT_TRUE(refused(resize("+8M"), kFailed, "Device is on fire."));
    EXPECT_EQ(sha256(image_), before);
    expect_nothing_left();
}

// insp is killed by the lvm that it calls: before its work, or after it.
TEST_F(ResizeVolume, KilledOnTheWay) {
    const std::string before = sha256(image_);
    script("lvextend", resize_commands() + "kill -9 $PPID\n");
    EXPECT_EQ(resize("+8M").signal, SIGKILL);
    EXPECT_EQ(size(), 16 * kMiB);
    Outcome outcome = volume({"recover", device_});
    EXPECT_THAT(outcome.out, HasSubstr("discarded")) << outcome.describe();
    EXPECT_EQ(sha256(image_), before);

    script("lvextend", resize_commands());
    outcome = resize("+8M");
    ASSERT_TRUE(outcome.ok()) << outcome.describe();
    script("lvreduce", "kill -9 $PPID\n");
    EXPECT_EQ(resize("12M").signal, SIGKILL);
    EXPECT_EQ(size(), 16 * kMiB);
    script("lvreduce", resize_commands());
    outcome = volume({"recover", device_});
    EXPECT_THAT(outcome.out, HasSubstr("finished")) << outcome.describe();
    EXPECT_EQ(size(), 12 * kMiB);
    expect_sound(12 * kMiB);
    expect_nothing_left();
}

}  // namespace
}  // namespace inspect::test
