// SPDX-License-Identifier: GPL-2.0-or-later
//
// insp run: programs in the appliance and in the guest's tree.
#include <sys/stat.h>

#include "support/insp.h"

namespace inspect::test {
namespace {

using ::testing::HasSubstr;

constexpr int kOwnFailure = 125;

class Run : public ApplianceTest {};

// Everything that passes between the host and a program, on our own virtual machine.
class RunOnKvm : public KvmTest {};

TEST_F(RunOnKvm, StreamsAndExitCodeArePassedThrough) {
    Outcome both = insp({"run", "-a", guest("gpt"), "read line; echo \"got $line\"; echo sorry >&2; exit 7"},
                        {.input = "this line\n"});
    EXPECT_EQ(both.code, 7) << both.describe();
    EXPECT_EQ(both.out, "got this line\n");
    EXPECT_EQ(both.err, "sorry\n");
}

TEST_F(Run, ArgumentsAndExitCodesArePassedThrough) {
    std::string image = guest("gpt");
    // Several operands need no quoting, and what looks like an option is the program's.
    EXPECT_EQ(insp_ok({"run", "-a", image, "perl", "-e", "print qq(@ARGV)", "--", "-a", "$x"}), "-a $x");
    EXPECT_EQ(insp({"run", "-a", image, "kill -9 $$"}).code, 128 + 9);

    Outcome missing = insp({"run", "-a", image, "no-such-program", "x"});
    EXPECT_TRUE(refused(missing, 127, "no-such-program"));
    EXPECT_TRUE(refused(insp({"run", "-a", scratch() / "missing", "true"}), kOwnFailure, "missing"));
    EXPECT_TRUE(refused(insp({"run", "-a", image, "--nonsense", "true"}), kOwnFailure, "--nonsense"));
    EXPECT_TRUE(refused(insp({"run", "-a", image}), kOwnFailure, "COMMAND"));
}

// More comes out than goes in, and before the input is at its end.
TEST_F(Run, MuchDataBothWays) {
    constexpr size_t kPiece = 65536;
    std::string data(3 << 19, '\0');
    for (size_t i = 0; i < data.size(); ++i) data[i] = static_cast<char>(i * 2654435761u >> 13);
    std::string fourfold;
    for (size_t at = 0; at < data.size(); at += kPiece)
        for (int i = 0; i < 4; ++i) fourfold += data.substr(at, kPiece);
    const std::string multiply = "while (read(STDIN, $b, " + std::to_string(kPiece) + ")) { print $b x 4 }";
    EXPECT_TRUE(insp_ok({"run", "-a", guest("ext4"), "perl", "-e", multiply}, {.input = data}) == fourfold);
}

// The kernel's driver has another name; mount(8) finds ntfs-3g's helper.
TEST_F(Run, MountsNtfsByHand) {
    EXPECT_EQ(insp_ok({"run", "-a", guest("ntfs"), "mount /dev/sda /sysroot && cat /sysroot/hello.txt"}),
              "hello, guest\n");
}

TEST_F(Run, FindsEveryPartitionByItsName) {
    std::string out = insp_ok({"run", "-a", guest("gpt"), "-a", guest("mbr"),
                               "for d in /dev/sd*; do echo \"$d $(blkid -p -o value -s TYPE $d)\"; done"});
    EXPECT_EQ(out,
              "/dev/sda \n/dev/sda1 ext4\n/dev/sda2 vfat\n/dev/sda3 swap\n/dev/sda5 xfs\n/dev/sda6 \n"
              "/dev/sdb \n/dev/sdb1 ext4\n/dev/sdb5 ext2\n/dev/sdb6 vfat\n");
}

TEST_F(Run, ChangesAreKeptWhenTheProgramSucceeds) {
    std::string image = copy_of("ext4");
    std::string before = sha256(image);
    Args write{"run", "-a", image, "-m", "/dev/sda"};
    auto with = [&](Args more) {
        Args all = write;
        all.insert(all.end(), more.begin(), more.end());
        return all;
    };
    // Read-only: the mount is, and what goes to the device is forgotten.
    EXPECT_NE(insp(with({"echo new > /sysroot/new"})).code, 0);
    insp_ok({"run", "-a", image, "tune2fs -L changed /dev/sda >/dev/null"});
    EXPECT_EQ(sha256(image), before);
    // It fails: nothing.
    Outcome failed = insp(with({"--rw", "echo new > /sysroot/new; exit 9"}));
    EXPECT_EQ(failed.code, 9);
    EXPECT_THAT(failed.err, HasSubstr("nothing is changed"));
    EXPECT_EQ(sha256(image), before);

    EXPECT_EQ(insp(with({"--rw", "--keep-changes", "echo kept > /sysroot/kept; exit 9"})).code, 9);
    EXPECT_EQ(debugfs(image, "cat /kept"), "kept\n");
    insp_ok(with({"--rw", "echo new > /sysroot/new"}));
    EXPECT_EQ(debugfs(image, "cat /new"), "new\n");
    EXPECT_TRUE(ext_is_clean(image));
    insp_ok({"run", "-a", image, "--rw", "tune2fs -L changed /dev/sda >/dev/null"});
    EXPECT_THAT(run({"/usr/sbin/dumpe2fs", "-h", image}).out, HasSubstr("changed\n"));
    EXPECT_TRUE(ext_is_clean(image));
}

TEST_F(Run, WhatIsLeftBehindEnds) {
    std::string image = copy_of("ext4");
    // A process that holds the file system, a mount on top of it, and one that doesn't listen to SIGTERM.
    insp_ok({"run", "-a", image, "-m", "/dev/sda", "--rw",
             "cd /sysroot; (trap '' TERM; while :; do :; done) & perl -e 'open F, \">held\"; sleep 1000' & "
             "mount -t tmpfs none /sysroot/dir; echo lost > /sysroot/dir/lost; echo here > there"});
    EXPECT_TRUE(ext_is_clean(image));
    EXPECT_EQ(debugfs(image, "cat /there"), "here\n");
    EXPECT_THAT(debugfs(image, "ls -p /dir"), ::testing::Not(HasSubstr("lost")));
}

TEST_F(Run, WhatIsLeftBehindIsNotHeardForEver) {
    Outcome outcome = insp({"run", "-a", guest("ext4"), "yes & echo done >&2; exit 3"});
    EXPECT_EQ(outcome.code, 3) << outcome.err;
    EXPECT_EQ(outcome.err, "done\n");
}

TEST_F(Run, InTheGuestsTree) {
    std::string image = copy_of("debian12-small");
    std::string look =
        ". /etc/os-release; echo $ID; test -b /dev/sda1 && test -d /proc/1 && test -d /sys/block && ls -A "
        "/tmp && "
        "dpkg-query -W -f '${Status}\\n' base-files && echo x > /tmp/x && echo guest > /etc/from-the-guest";
    std::string out = insp_ok({"run", "-a", image, "--rw", "--chroot", look});
    EXPECT_EQ(out, "debian\ninstall ok installed\n");
    EXPECT_EQ(insp_ok({"cat", "-a", image, "/etc/from-the-guest"}), "guest\n");
    // What surrounded it is gone.
    EXPECT_EQ(insp_ok({"run", "-a", image, "-i", "for d in proc sys tmp; do echo /sysroot/$d/*; done"}),
              "/sysroot/proc/*\n/sysroot/sys/*\n/sysroot/tmp/*\n");
    EXPECT_TRUE(ext_is_clean(cut_out(image, 2)));
    // There is no network but the loopback.
    EXPECT_EQ(insp_ok({"run", "-a", image, "--chroot", "ls /sys/class/net"}), "lo\n");
}

}  // namespace
}  // namespace inspect::test
