// SPDX-License-Identifier: GPL-2.0-or-later
//
// insp mount and umount: the host's own tools on a mounted guest, and e2fsck and debugfs on what is in the
// image afterwards. INSP_TEST_KILLS: how often a writable mount is killed.
#include <fcntl.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <atomic>
#include <fstream>
#include <functional>
#include <optional>
#include <random>
#include <thread>

#include "support/host_mount.h"

namespace inspect::test {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

class Mount : public HostMountTest {
  protected:
    void SetUp() override {
        HostMountTest::SetUp();
        if (!INSP_APPLIANCE_BUILT) GTEST_SKIP() << "the appliance is not built (INSP_APPLIANCE=OFF)";
    }
    Options with_runtime(Options options = {}) const {
        options.env.try_emplace("XDG_RUNTIME_DIR", scratch() / "run");
        return options;
    }
    void mount(const Args& args) const {
        Args all{"mount"};
        all.insert(all.end(), args.begin(), args.end());
        all.push_back(directory_);
        insp_ok(all, with_runtime());
    }
    Outcome umount(const Args& args = {}) const {
        Args all{"umount", directory_};
        all.insert(all.end(), args.begin(), args.end());
        return insp(all, with_runtime());
    }
    void umount_ok() const {
        Outcome outcome = umount();
        EXPECT_TRUE(outcome.ok()) << outcome.describe();
    }
    fs::path at(const std::string& path) const { return directory_ / path; }
    static Outcome shell(const std::string& script) { return run({"/bin/sh", "-ec", script}); }
};

TEST_F(Mount, ShowsAGuestToTheHostsTools) {
    std::string image = guest("metadata");
    mount({"-a", image, "-m", "/dev/sda", "--ro"});
    Outcome tar = shell("tar -C " + directory_.string() + " -cf - . | tar -tf - | sort");
    EXPECT_THAT(tar.out, HasSubstr("./dir/file\n"));
    EXPECT_THAT(tar.out, HasSubstr("./dir/hard-link\n"));
    EXPECT_EQ(read_host_file(at("dir/single")), "alone\n");
    struct stat file {};
    struct stat link {};
    ASSERT_EQ(lstat(at("dir/file").c_str(), &file), 0);
    ASSERT_EQ(lstat(at("dir/hard-link").c_str(), &link), 0);
    EXPECT_EQ(file.st_ino, link.st_ino);
    EXPECT_EQ(file.st_uid, 1000u);
    int sparse = open(at("dir/sparse").c_str(), O_RDONLY | O_CLOEXEC);
    ASSERT_GE(sparse, 0);
    EXPECT_LT(lseek(sparse, 0, SEEK_HOLE), 4194304) << "a hole before the end";
    close(sparse);
    EXPECT_EQ(open(at("new").c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0644), -1);
    EXPECT_EQ(errno, EROFS);
    umount_ok();
    mount({"-a", image, "-m", "/dev/sda", "--ro"});  // at once
    umount_ok();
    EXPECT_TRUE(fs::is_empty(directory_));
    EXPECT_TRUE(refused(umount(), kFailed, "no guest is mounted"));
}

TEST_F(Mount, WhatIsChangedIsInTheImageAfterwards) {
    std::string image = copy_of("ext4");
    mount({"-a", image, "-m", "/dev/sda"});
    std::string top = directory_.string();
    Outcome work =
        shell("cd " + top +
              "; mkdir -p a/b; echo one > a/b/one; ln a/b/one a/two; ln -s b/one a/link; mknod pipe p"
              "; head -c 300000 /dev/urandom > random; cp --sparse=always random copy; cmp random copy"
              "; truncate -s 1M sparse; mv copy a/moved; rm random; chmod 4750 a/two; sync -f .");
    EXPECT_TRUE(work.ok()) << work.describe();
    EXPECT_EQ(setxattr(at("a/two").c_str(), "user.key", "value", 5, 0), 0);
    std::string sum = sha256(at("a/moved"));
    EXPECT_TRUE(same_bytes(image, guest("ext4"))) << "nothing reaches the image before the end";
    umount_ok();
    EXPECT_TRUE(ext_is_clean(image));
    EXPECT_EQ(debugfs(image, "cat /a/b/one"), "one\n");
    EXPECT_THAT(debugfs(image, "stat /a/two"), HasSubstr("Links: 2 "));
    EXPECT_THAT(debugfs(image, "stat /a/two"), HasSubstr("Mode:  04750"));
    EXPECT_THAT(debugfs(image, "ea_list /a/two"), HasSubstr("user.key"));
    EXPECT_THAT(debugfs(image, "stat /a/link"), HasSubstr("Fast link dest: \"b/one\""));
    EXPECT_THAT(debugfs(image, "stat /pipe"), HasSubstr("Type: FIFO"));
    EXPECT_THAT(debugfs(image, "stat /sparse"), HasSubstr("Size: 1048576"));
    EXPECT_THAT(debugfs(image, "stat /sparse"), HasSubstr("Blockcount: 0"));
    shell("/usr/sbin/debugfs -R 'dump /a/moved " + (scratch() / "moved").string() + "' " + image);
    EXPECT_EQ(sha256(scratch() / "moved"), sum);
}

TEST_F(Mount, AclsAreKept) {
    if (!have_program("setfacl")) GTEST_SKIP() << "setfacl is not installed";
    std::string image = copy_of("ext4");
    mount({"-a", image, "-m", "/dev/sda", "-o", "default_permissions"});
    Outcome work = shell("cd " + directory_.string() +
                         "; mkdir d; setfacl -d -m u:1234:rwx d; echo x > d/file; getfacl -cn d/file");
    EXPECT_THAT(work.out, HasSubstr("user:1234:rwx")) << work.describe();
    umount_ok();
    EXPECT_TRUE(ext_is_clean(image));
    EXPECT_THAT(debugfs(image, "ea_list /d/file"), HasSubstr("system.posix_acl_access"));
}

TEST_F(Mount, FusermountCommitsToo) {
    if (!have_program("fusermount3")) GTEST_SKIP() << "fusermount3 is not installed";
    std::string image = copy_of("ext4");
    mount({"-a", image, "-m", "/dev/sda"});
    write_host_file(at("file"), "contents\n");
    EXPECT_TRUE(run({"fusermount3", "-u", directory_}).ok());
    Outcome waited = umount({"--wait"});
    EXPECT_TRUE(waited.ok()) << waited.describe();
    EXPECT_EQ(debugfs(image, "cat /file"), "contents\n");
    EXPECT_TRUE(ext_is_clean(image));
}

// As scripts do: out=$(insp mount ...). It ends when nobody has the pipe open any more.
TEST_F(Mount, WhoReadsItsOutputIsNotKeptWaiting) {
    std::string line = "out=$(";
    for (const std::string& word :
         command({"mount", "-a", guest("metadata"), "-m", "/dev/sda", "--ro", directory_}))
        line += "'" + word + "' ";
    Options options = with_runtime();
    options.timeout = std::chrono::seconds(60);
    Outcome outcome = run({"/bin/sh", "-ec", line + "2>&1)"}, environment(options));
    EXPECT_TRUE(outcome.ok()) << outcome.describe();
    EXPECT_EQ(read_host_file(at("dir/single")), "alone\n");
    umount_ok();
}

// The kernel knows the new size whatever has become of the file in the guest: only a look into the image
// tells.
TEST_F(Mount, FilesAreTruncatedWhenTheyAreOpened) {
    std::string image = copy_of("ext4");
    mount({"-a", image, "-m", "/dev/sda"});
    write_host_file(at("file"), std::string(20'000, 'x') + "\n");
    umount_ok();
    mount({"-a", image, "-m", "/dev/sda"});
    write_host_file(at("file"), "short\n");
    write_host_file(at("hello.txt"), "");
    Outcome work = shell("cd " + directory_.string() + "; echo a >numbers; echo longer >new; echo b >new");
    EXPECT_TRUE(work.ok()) << work.describe();
    umount_ok();
    EXPECT_EQ(debugfs(image, "cat /file"), "short\n");
    EXPECT_EQ(debugfs(image, "cat /hello.txt"), "");
    EXPECT_EQ(debugfs(image, "cat /numbers"), "a\n");
    EXPECT_EQ(debugfs(image, "cat /new"), "b\n");
    EXPECT_TRUE(ext_is_clean(image));
}

// A second insp, and any process with mounts of its own, has a copy of the host's mounts: neither keeps this
// one alive.
TEST_F(Mount, OthersDoNotKeepItMounted) {
    std::string image = copy_of("ext4");
    mount({"-a", image, "-m", "/dev/sda"});
    write_host_file(at("file"), "contents\n");
    fs::path other = scratch() / "other";
    fs::create_directory(other);
    insp_ok({"mount", "-a", guest("metadata"), "-m", "/dev/sda", "--ro", other}, with_runtime());
    EXPECT_TRUE(run({"fusermount3", "-u", directory_}).ok());
    Outcome waited = umount({"--wait"});
    EXPECT_TRUE(waited.ok()) << waited.describe();
    EXPECT_EQ(debugfs(image, "cat /file"), "contents\n");
    EXPECT_TRUE(insp({"umount", other}, with_runtime()).ok());

    mount({"-a", image, "-m", "/dev/sda"});
    write_host_file(at("file"), "new\n");
    Child copy({"unshare", "--user", "--map-root-user", "--mount", "--propagation", "private", "sh", "-c",
                "touch " + (scratch() / "copied").string() + "; exec sleep 300"},
               {});
    for (int i = 0; i < 100 && !fs::exists(scratch() / "copied"); ++i) usleep(100'000);
    if (!fs::exists(scratch() / "copied")) {
        copy.kill(SIGKILL);
        copy.wait();
        umount_ok();
        GTEST_SKIP() << "this system allows no user namespaces";
    }
    umount_ok();
    copy.kill(SIGKILL);
    copy.wait();
    EXPECT_EQ(debugfs(image, "cat /file"), "new\n");
    EXPECT_TRUE(ext_is_clean(image));
}

TEST_F(Mount, SubdirectoriesAndTheForeground) {
    std::string image = copy_of("metadata");
    Child child(command({"mount", "-f", "--subdir", "/dir", "-a", image, "-m", "/dev/sda", "--pid-file",
                         scratch() / "pid", directory_}),
                environment(with_runtime()));
    for (int i = 0; i < 600 && !fs::exists(scratch() / "pid"); ++i) usleep(100'000);
    EXPECT_EQ(read_host_file(at("single")), "alone\n");
    write_host_file(at("new"), "new\n");
    child.kill(SIGTERM);
    Outcome outcome = child.wait();
    EXPECT_TRUE(outcome.ok()) << outcome.describe();
    EXPECT_EQ(debugfs(image, "cat /dir/new"), "new\n");
}

// By SIGTERM while it is in use; after that whoever wants an end waits for the last user.
TEST_F(Mount, StoppedInUseItLosesNothing) {
    std::string image = copy_of("ext4");
    mount({"-a", image, "-m", "/dev/sda", "--pid-file", scratch() / "pid"});
    int fd = open(at("file").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    ASSERT_GE(fd, 0);
    EXPECT_EQ(write(fd, "one\n", 4), 4);
    kill(std::stoi(read_host_file(scratch() / "pid")), SIGTERM);
    for (int i = 0; i < 100 && fs::exists(at("file")); ++i) usleep(100'000);
    EXPECT_FALSE(fs::exists(at("file")));
    EXPECT_EQ(write(fd, "two\n", 4), 4);
    Child second(command({"umount", directory_}), environment(with_runtime()));
    usleep(1'000'000);
    EXPECT_TRUE(second.running()) << second.wait().describe();
    EXPECT_EQ(write(fd, "three\n", 6), 6);
    close(fd);
    Outcome outcome = second.wait();
    EXPECT_TRUE(outcome.ok()) << outcome.describe();
    EXPECT_EQ(debugfs(image, "cat /file"), "one\ntwo\nthree\n");
    EXPECT_TRUE(ext_is_clean(image));
    EXPECT_FALSE(fs::exists(scratch() / "pid"));
}

TEST_F(Mount, ADamagedSymlinkIsItsOwnErrorAlone) {
    std::string image = scratch() / "image";
    std::string target(200, 't');
    Outcome made = shell("truncate -s 4M " + image + "; mke2fs -q -t ext2 -F " + image +
                         "; for r in 'mkdir d' 'symlink d/damaged " + target + "' 'symlink d/good " + target +
                         "' 'set_inode_field d/damaged block[0] 0'; do debugfs -w -R \"$r\" " + image +
                         " 2>/dev/null; done");
    ASSERT_TRUE(made.ok()) << made.describe();
    mount({"-a", image, "-m", "/dev/sda", "--ro"});
    Outcome listed = run({"find", at("d"), "-printf", "%P %s\n"});
    EXPECT_TRUE(listed.ok()) << listed.describe();
    EXPECT_THAT(listed.out, HasSubstr("damaged 200\n"));
    std::error_code error;
    EXPECT_EQ(fs::read_symlink(at("d/good"), error), target);
    EXPECT_EQ(fs::read_symlink(at("d/damaged"), error), "");
    EXPECT_TRUE(error);
    umount_ok();
}

TEST_F(Mount, NamesWithoutCaseAreNotRemembered) {
    mount({"-a", copy_of("vfat"), "-m", "/dev/sda"});
    Outcome work = shell("cd " + directory_.string() +
                         "; ! test -e NEW; echo contents >new; cat NEW; mv New other; ! cat NEW; ! cat new"
                         "; cat OTHER; exec 3>>Other; rm oTHER; echo more >&3; ! test -e other");
    EXPECT_TRUE(work.ok()) << work.describe();
    EXPECT_EQ(work.out, "contents\ncontents\n");
    umount_ok();
}

// SUSE's root is a snapshot that is also below itself.
TEST_F(Mount, ADirectoryInTwoPlacesIsShownInBoth) {
    mount({"-a", guest("btrfs-suse"), "-m", "/dev/sda1", "-m", "btrfsvol:/dev/sda1/@/.snapshots:/.snapshots",
           "--ro"});
    Outcome found = run({"find", directory_, "-type", "f"});
    EXPECT_TRUE(found.ok()) << found.describe();
    EXPECT_EQ(found.err, "");
    EXPECT_EQ(read_host_file(at(".snapshots/1/snapshot/etc/fstab")), read_host_file(at("etc/fstab")));
    umount_ok();
}

TEST_F(Mount, WhatCannotBeIsRefused) {
    std::string image = copy_of("ext4");
    write_host_file(at("in-the-way"), "");
    EXPECT_TRUE(refused(insp({"mount", "-a", image, "-m", "/dev/sda", directory_}, with_runtime()), kFailed,
                        "not empty"));
    fs::remove(at("in-the-way"));
    EXPECT_TRUE(refused(insp({"mount", "-a", image, "-m", "/dev/sda", scratch() / "missing"}, with_runtime()),
                        kFailed, "missing"));
    EXPECT_TRUE(refused(insp({"mount", "-a", image, "-m", "/dev/sdb", directory_}, with_runtime()), kFailed,
                        "/dev/sdb"));
    EXPECT_TRUE(refused(
        insp({"mount", "-a", image, "-m", "/dev/sda", "--subdir", "/none", directory_}, with_runtime()),
        kFailed, "/none"));
    // A file that was there before the failure isn't --pid-file's.
    write_host_file(scratch() / "pid", "1\n");
    EXPECT_TRUE(
        refused(insp({"mount", "-a", image, "-m", "/dev/sdb", "--pid-file", scratch() / "pid", directory_},
                     with_runtime()),
                kFailed, "/dev/sdb"));
    EXPECT_EQ(read_host_file(scratch() / "pid"), "1\n");
    EXPECT_TRUE(same_bytes(image, guest("ext4")));
    mount({"-a", image, "-m", "/dev/sda"});
    fs::create_directory(scratch() / "other");
    EXPECT_TRUE(refused(insp({"mount", "-a", image, "-m", "/dev/sda", scratch() / "other"}, with_runtime()),
                        kFailed, "ext4"));
    EXPECT_TRUE(
        refused(insp({"mount", "-a", image, "-m", "/dev/sda", directory_}, with_runtime()), kFailed, "ext4"));
    umount_ok();
}

// What the file system can't do, it refuses; the rest is as anywhere.
TEST_F(Mount, EveryKindOfGuest) {
    struct Kind {
        std::string guest;
        Args what;
        bool posix;  // has links, owners, modes
        std::function<Outcome(const std::string& image)> judge;
    };
    const Args disk{"-m", "/dev/sda"}, system{"-i"}, locked{"-i", "--key", "all:key:guest-key"};
    auto program = [](Args arguments) {
        return [arguments](const std::string& image) {
            Args all = arguments;
            all.push_back(image);
            return run(all);
        };
    };
    auto partition = [this](Args arguments) {
        return [this, arguments](const std::string& image) {
            Args all = arguments;
            all.push_back(cut_out(image, 1));
            return run(all);
        };
    };
    // Below stacks that the host's tools can't look into, our own fsck calls e2fsck.
    auto own = [this](Args arguments) {
        return [this, arguments](const std::string& image) {
            Args all{"fsck", "-a", image};
            all.insert(all.end(), arguments.begin(), arguments.end());
            return insp(all, with_runtime());
        };
    };
    const std::vector<Kind> kinds = {
        {"xfs", disk, true, program({"xfs_repair", "-n"})},
        {"f2fs", disk, true, program({"fsck.f2fs", "--dry-run"})},
        {"btrfs", system, true, partition({"btrfs", "check", "--readonly"})},
        {"vfat", disk, false, program({"fsck.vfat", "-n"})},
        {"exfat", disk, false, program({"fsck.exfat", "-n"})},
        {"ntfs", disk, false, program({"ntfsfix", "--no-action"})},
        {"lvm", system, true, own({"/dev/debian-vg/root"})},
        {"md", system, true, own({"/dev/md0"})},
        {"lvm-on-luks", locked, true, own({"--key", "all:key:guest-key", "/dev/ubuntu-vg/ubuntu-lv"})},
    };
    for (const Kind& kind : kinds) {
        SCOPED_TRACE(kind.guest);
        std::string image = copy_of(kind.guest);
        auto mounted = [&](Args more) {
            more.insert(more.end(), {"-a", image});
            more.insert(more.end(), kind.what.begin(), kind.what.end());
            mount(more);
        };
        mounted({});
        std::string script = "cd " + directory_.string() +
                             "; mkdir -p a/b; echo one >a/b/one; head -c 300000 /dev/urandom >random"
                             "; cp random a/b/copy; mv a/b a/c; rm random; truncate -s 100000 a/c/sparse";
        if (kind.posix) {
            script +=
                "; ln a/c/one a/two; ln -s c/one a/link; mkfifo a/pipe; chmod 4750 a/two"
                "; chown 7:8 a/c; setfattr -n user.key -v value a/two";
        }
        Outcome work = shell(script);
        EXPECT_TRUE(work.ok()) << work.describe();
        std::string sum = sha256(at("a/c/copy"));
        umount_ok();
        Outcome judged = kind.judge(image);
        EXPECT_TRUE(judged.ok()) << judged.describe();
        mounted({"--ro"});
        EXPECT_EQ(read_host_file(at("a/c/one")), "one\n");
        EXPECT_EQ(sha256(at("a/c/copy")), sum);
        EXPECT_EQ(fs::file_size(at("a/c/sparse")), 100000U);
        EXPECT_FALSE(fs::exists(at("random")));
        if (kind.posix) {
            struct stat st {};
            ASSERT_EQ(stat(at("a/link").c_str(), &st), 0);
            EXPECT_EQ(st.st_mode, S_IFREG | 04750U);
            EXPECT_EQ(st.st_nlink, 2U);
            ASSERT_EQ(stat(at("a/c").c_str(), &st), 0);
            EXPECT_EQ(st.st_gid, 8U);
            char value[16];
            EXPECT_EQ(getxattr(at("a/two").c_str(), "user.key", value, sizeof value), 5);
        }
        umount_ok();
    }
}

TEST_F(Mount, OnTheEngineKvm) {
    if (!kvm_is_usable()) GTEST_SKIP() << "/dev/kvm is missing or not permitted";
    std::string image = copy_of("ext4");
    insp_ok({"mount", "-a", image, "-m", "/dev/sda", directory_},
            with_runtime({.env = {{"INSP_ENGINE", "kvm"}}}));
    EXPECT_EQ(read_host_file(at("hello.txt")), "hello, guest\n");
    write_host_file(at("new"), std::string(50'000, 'n'));
    umount_ok();
    EXPECT_TRUE(ext_is_clean(image));
    EXPECT_EQ(debugfs(image, "cat /new"), std::string(50'000, 'n'));
}

// fsync reaches the image while it is mounted; what came after it is lost with the process, no more.
TEST_F(Mount, DirectlyWhatWasSyncedSurvives) {
    std::string image = copy_of("ext4");
    mount({"-a", image, "-m", "/dev/sda", "--write-mode=direct", "--pid-file", scratch() / "pid"});
    Outcome work = shell("cd " + directory_.string() + "; echo kept >kept; sync kept .");
    EXPECT_TRUE(work.ok()) << work.describe();
    EXPECT_FALSE(same_bytes(image, guest("ext4")));
    kill(std::stoi(read_host_file(scratch() / "pid")), SIGKILL);
    umount();  // what is left of the mount
    umount2(directory_.c_str(), MNT_DETACH | UMOUNT_NOFOLLOW);
    run({"e2fsck", "-fy", image});  // replays the journal, as the guest will
    EXPECT_TRUE(ext_is_clean(image));
    EXPECT_EQ(debugfs(image, "cat /kept"), "kept\n");
}

// The process of the mount, by its pid file.
TEST_F(Mount, KilledItLeavesTheImageAsItWas) {
    const char* text = getenv("INSP_TEST_KILLS");
    int kills = text ? atoi(text) : 4;
    std::string image = copy_of("ext4");
    std::mt19937 random(static_cast<unsigned>(kills));
    for (int i = 0; i < kills; ++i) {
        fs::remove(scratch() / "pid");
        std::string before = sha256(image);
        mount({"-a", image, "-m", "/dev/sda", "--pid-file", scratch() / "pid"});
        pid_t pid = std::stoi(read_host_file(scratch() / "pid"));
        std::atomic<bool> stop = false;
        std::thread work([&] {
            for (int j = 0; !stop; ++j) {
                std::ofstream file(at("file" + std::to_string(j % 20)));
                if (!(file << std::string(5000, 'x')).flush()) return;
            }
        });
        usleep(random() % 400'000);
        bool unmounting = i % 2 == 1;
        std::optional<Child> end;
        if (unmounting) {
            // Before, or the rest would be written to what the tree was mounted on.
            stop = true;
            work.join();
            end.emplace(command({"umount", directory_}), environment(with_runtime()));
            usleep(random() % 200'000);
        }
        kill(pid, SIGKILL);
        if (end) end->wait();
        if (work.joinable()) work.join();
        umount();  // what is left of the mount
        umount2(directory_.c_str(), MNT_DETACH | UMOUNT_NOFOLLOW);
        ASSERT_TRUE(fs::is_empty(directory_));
        insp_ok({"recover", image}, with_runtime());
        ASSERT_TRUE(ext_is_clean(image)) << "kill " << i;
        if (!unmounting) {
            ASSERT_EQ(sha256(image), before) << "kill " << i;
        }
    }
}

}  // namespace
}  // namespace inspect::test
