// SPDX-License-Identifier: GPL-2.0-or-later
//
// Backups when something goes wrong around them: servers that stop, disks that fill up, images that change,
// others in the repository at the same time. Nothing that was stored is lost, and the next try completes.
#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <memory>
#include <thread>

#include "support/backups.h"

namespace inspect::test {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using namespace std::chrono_literals;

class BackupFaults : public BackupTest {
  protected:
    size_t locks() const {
        const fs::directory_iterator all(path() + "/locks");
        return static_cast<size_t>(std::distance(begin(all), end(all)));
    }
    // Backs up slowly: what the test does meanwhile happens in the middle.
    std::unique_ptr<Child> create_slowly(const std::string& disk, const Options& options,
                                         const Args& more = {}) const {
        Args args{"backup", "create", "--json", "--limit-rate", "2M", disk};
        args.insert(args.end(), more.begin(), more.end());
        return std::make_unique<Child>(command(args), environment(options));
    }
    template <typename Condition>
    static bool wait_until(Condition condition) {
        for (int i = 0; i < 600; ++i) {
            if (condition()) return true;
            std::this_thread::sleep_for(50ms);
        }
        return false;
    }
};

class BackupServerFaults : public BackupFaults {
  protected:
    void SetUp() override {
        BackupFaults::SetUp();
        if (!have_program("rclone")) GTEST_SKIP() << "rclone is not installed";
        if (!fs::exists(INSP_BUILD_DIR "/libexec/libinspect/insp-rest"))
            GTEST_SKIP() << "built without libcurl";
        port_ = std::to_string(20000 + ::getpid() % 20000);
        address_ = "127.0.0.1:" + port_;
        start();
    }
    void TearDown() override {
        stop();
        BackupFaults::TearDown();
    }
    void start() {
        server_ = std::make_unique<Child>(Args{"rclone", "serve", "restic", "--addr", address_, path()});
        ASSERT_TRUE(wait_until([&] {
            return run({"/bin/bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/" + port_}).ok();
        }));
    }
    void stop() {
        if (!server_) return;
        server_->kill(SIGKILL);
        server_->wait();
        server_.reset();
    }
    Options on_server() const {
        Options options = repository();
        options.env["RESTIC_REPOSITORY"] = "rest:http://" + address_ + "/";
        options.env["INSP_CACHE_DIR"] = scratch() / "no-cache";
        return options;
    }

    std::string address_, port_;
    std::unique_ptr<Child> server_;
};

TEST_F(BackupServerFaults, ThatIsAwayForAMomentIsWaitedFor) {
    const std::string disk = random_disk("disk.img", 24 << 20, 1);
    auto creating = create_slowly(disk, on_server());
    ASSERT_TRUE(wait_until([&] { return locks() == 1; }));
    stop();
    std::this_thread::sleep_for(2s);
    start();
    const Outcome created = creating->wait();
    EXPECT_TRUE(created.ok()) << created.describe();
    EXPECT_TRUE(same_bytes(restore("disk"), disk));
    EXPECT_TRUE(sound());
}

TEST_F(BackupServerFaults, ThatIsGoneIsAnErrorAndTheNextTryCompletes) {
    const std::string kept = random_disk("kept.img", 24 << 20, 2),
                      disk = random_disk("disk.img", 24 << 20, 3);
    insp_ok({"backup", "create", "-q", kept}, on_server());
    auto creating = create_slowly(disk, on_server());
    ASSERT_TRUE(wait_until([&] { return locks() == 1; }));
    const std::string target = scratch() / "restored.img";
    // The server goes while it writes: it is stopped in the middle of an answer, then killed.
    server_->kill(SIGSTOP);
    Child restoring(command({"backup", "restore", "kept", "--target", target}), environment(on_server()));
    std::this_thread::sleep_for(500ms);
    stop();
    const Outcome created = creating->wait(), restored = restoring.wait();
    EXPECT_EQ(created.code, kFailed) << created.describe();
    EXPECT_THAT(created.err, HasSubstr("in the repository 'rest:http://" + address_));
    EXPECT_EQ(restored.code, kFailed) << restored.describe();
    EXPECT_THAT(restored.err, HasSubstr("rest:http://" + address_));
    EXPECT_FALSE(fs::exists(target)) << "nothing half-made";

    start();
    EXPECT_EQ(snapshots(on_server()), 1u);
    insp_ok({"backup", "restore", "-q", "kept", "--target", target}, on_server());
    EXPECT_TRUE(same_bytes(target, kept));
    insp_ok({"backup", "create", "-q", disk}, on_server());
    EXPECT_TRUE(same_bytes(restore("disk"), disk));
    insp_ok({"backup", "forget", "-q", "disk"}, on_server());  // the lock that was left is no obstacle
    EXPECT_TRUE(sound());
}

TEST_F(BackupFaults, TwoWritersAndAPruneAtOnceLoseNothing) {
    if (!have_program("restic")) GTEST_SKIP() << "restic is not installed";
    const std::string old = random_disk("old.img", 16 << 20, 4), one = random_disk("one.img", 24 << 20, 5),
                      two = random_disk("two.img", 24 << 20, 6);
    create({old});
    create({one, "--name", "forgotten"});
    insp_ok({"backup", "forget", "-q", "forgotten"}, repository());  // something for prune to remove
    // Whoever comes too late is refused, and tries again.
    std::vector<std::unique_ptr<Child>> children;
    auto again_until_done = [&](const Args& args) {
        Args all{"/bin/sh", "-c", "for i in $(seq 100); do \"$@\" && exit 0; sleep 0.1; done; exit 1", "sh"};
        all.insert(all.end(), args.begin(), args.end());
        children.push_back(std::make_unique<Child>(all, environment(repository())));
    };
    again_until_done(command({"backup", "create", "-q", "--limit-rate", "8M", one}));
    again_until_done(command({"backup", "create", "-q", "--limit-rate", "8M", two}));
    again_until_done({"restic", "--no-cache", "-q", "prune", "--max-unused", "0"});
    for (const auto& child : children) {
        const Outcome outcome = child->wait();
        EXPECT_TRUE(outcome.ok()) << outcome.describe();
    }
    EXPECT_TRUE(same_bytes(restore("old"), old));
    EXPECT_TRUE(same_bytes(restore("one"), one));
    EXPECT_TRUE(same_bytes(restore("two"), two));
    EXPECT_TRUE(sound());
}

TEST_F(BackupFaults, AStaleLockIsRemoved) {
    const std::string disk = random_disk("disk.img", 24 << 20, 7);
    create({disk});
    auto creating = create_slowly(disk, repository(), {"--all-blocks"});
    ASSERT_TRUE(wait_until([&] { return locks() == 1; }));
    EXPECT_TRUE(refused(insp({"backup", "forget", "disk"}, repository()), kFailed, "is in use by process"));
    creating->kill(SIGKILL);
    creating->wait();
    EXPECT_EQ(locks(), 1u);
    insp_ok({"backup", "forget", "-q", "disk"}, repository());
    EXPECT_EQ(locks(), 0u);
}

TEST_F(BackupFaults, AFullDisk) {
    if (!run({"unshare", "-rm", "true"}).ok()) GTEST_SKIP() << "no user namespaces here (unshare -rm)";
    const std::string small = random_disk("small.img", 1 << 20, 8),
                      large = random_disk("large.img", 32 << 20, 9);
    Options options = repository();
    const fs::path mounted = scratch() / "mounted";
    fs::create_directory(mounted);
    options.env["RESTIC_REPOSITORY"] = mounted / "repository";
    const std::string insp = INSP_PROGRAM, restored = scratch() / "restored";
    std::string script = "set -e; mount -t tmpfs -o size=4m none " + mounted.string() + "; " + insp +
                         " backup init -q; " + insp + " backup create -q " + small + "; if " + insp +
                         " backup create -q " + large + "; then exit 9; fi; " + insp +
                         " backup restore -q small --target " + restored + "-small; " + insp +
                         " backup list; mount -o remount,size=64m " + mounted.string() + "; " + insp +
                         " backup create -q " + large + "; " + insp + " backup restore -q large --target " +
                         restored + "-large; " + insp + " backup verify -q --read-data";
    if (have_program("restic")) script += "; restic --no-cache -q check --read-data";
    const Outcome outcome = run({"unshare", "-rm", "/bin/sh", "-c", script}, environment(options));
    EXPECT_TRUE(outcome.ok()) << outcome.describe();
    EXPECT_THAT(outcome.err, HasSubstr("can't write a file in '" + (mounted / "repository").string()));
    EXPECT_THAT(outcome.err, HasSubstr("No space left on device"));
    EXPECT_THAT(outcome.out, HasSubstr("small"));
    EXPECT_THAT(outcome.out, ::testing::Not(HasSubstr("large")));
    EXPECT_TRUE(same_bytes(restored + "-small", small));
    EXPECT_TRUE(same_bytes(restored + "-large", large));
}

TEST_F(BackupFaults, AnImageThatChangesMeanwhile) {
    const std::string disk = random_disk("disk.img", 24 << 20, 10);
    auto creating = create_slowly(disk, repository());
    ASSERT_TRUE(wait_until([&] { return locks() == 1; }));
    change(disk, 20 << 20, "changed");
    const Outcome refusal = creating->wait();
    EXPECT_EQ(refusal.code, kFailed) << refusal.describe();
    EXPECT_THAT(refusal.err, HasSubstr("disk.img"));
    EXPECT_THAT(refusal.err, HasSubstr("changed"));
    EXPECT_EQ(snapshots(repository()), 0u);

    // Who says that it may: the snapshot is marked.
    creating = create_slowly(disk, repository(), {"--force-share"});
    ASSERT_TRUE(wait_until([&] { return locks() == 1; }));
    change(disk, 20 << 20, "again");
    const Outcome marked = creating->wait();
    EXPECT_TRUE(marked.ok()) << marked.describe();
    EXPECT_THAT(marked.err, HasSubstr("may make no sense"));
    EXPECT_TRUE(insp_json({"backup", "info", "--json"}, repository())["disks"][0]["changed_while_read"]);
    EXPECT_TRUE(sound());
}

TEST_F(BackupFaults, ARunningGuestIsRefused) {
    if (!have_program("qemu-nbd")) GTEST_SKIP() << "qemu-nbd is not installed";
    const std::string disk = random_disk("disk.img", 4 << 20, 11), socket = scratch() / "s";
    // It locks the image as a running QEMU does.
    Child writer({"qemu-nbd", "-f", "raw", "-t", "-k", socket, disk});
    ASSERT_TRUE(wait_until([&] { return fs::exists(socket); }));
    EXPECT_TRUE(refused(insp({"backup", "create", disk}, repository()), kFailed, "being written by another"));
    insp_ok({"backup", "create", "-q", "--force-share", disk}, repository());
    EXPECT_EQ(snapshots(repository()), 1u);
    writer.kill(SIGTERM);
    writer.wait();
}

}  // namespace
}  // namespace inspect::test
