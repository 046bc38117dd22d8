// SPDX-License-Identifier: GPL-2.0-or-later
//
// insp backup mount: a repository as a directory, read by the host's own tools; and a guest's tree out of a
// backup, by insp mount.
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <set>

#include "support/host_mount.h"

namespace inspect::test {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

class BackupMount : public HostMountTest {
  protected:
    void SetUp() override {
        HostMountTest::SetUp();
        if (IsSkipped()) return;
        insp_ok({"backup", "init", "-q"}, environment_of_backups());
    }
    Options environment_of_backups() const {
        Options options;
        options.env = {{"RESTIC_REPOSITORY", scratch() / "repository"},
                       {"RESTIC_PASSWORD", "correct horse"},
                       {"XDG_RUNTIME_DIR", scratch() / "run"}};
        return options;
    }
    void ok(const Args& args) const { insp_ok(args, environment_of_backups()); }
    static std::set<std::string> names_in(const fs::path& directory) {
        std::set<std::string> names;
        for (const auto& entry : fs::directory_iterator(directory)) names.insert(entry.path().filename());
        return names;
    }
};

TEST_F(BackupMount, ShowsEverySnapshotAsFiles) {
    const std::string disk = scratch() / "disk.img";
    write_host_file(disk, std::string(1 << 20, 'x') + std::string(1234, 'y'));
    fs::resize_file(disk, 64 << 20);
    ok({"backup", "create", "-q", disk, "--tag", "night/ly", "--host", "here"});
    ok({"backup", "create", "-q", guest("fake-debian"), "--name", "debian", "--host", "here"});
    ok({"backup", "create", "-q", guest("fake-debian"), "--name", "debian", "--host", "there"});
    ok({"backup", "mount", directory_});
    EXPECT_EQ(names_in(directory_), (std::set<std::string>{"guests", "hosts", "ids", "snapshots", "tags"}));
    EXPECT_EQ(names_in(directory_ / "guests"), (std::set<std::string>{"debian", "disk"}));
    EXPECT_EQ(names_in(directory_ / "guests/debian").size(), 3u) << "two, and the latest";
    EXPECT_EQ(names_in(directory_ / "hosts/there").size(), 2u);
    EXPECT_EQ(names_in(directory_ / "tags"), std::set<std::string>{"night_ly"});
    EXPECT_EQ(names_in(directory_ / "ids").size(), 3u);
    EXPECT_THAT(read_host_file(directory_ / "guests/debian/latest/guest.json"), HasSubstr("insp-guest"));

    const fs::path shown = directory_ / "guests/disk/latest/disk0.raw";
    EXPECT_TRUE(same_bytes(shown, disk));
    struct stat status = {};
    ASSERT_EQ(stat(shown.c_str(), &status), 0);
    EXPECT_EQ(status.st_size, 64 << 20);
    EXPECT_LT(status.st_blocks, (4 << 20) / 512) << "sparse";
    const int fd = open(shown.c_str(), O_RDONLY | O_CLOEXEC);
    ASSERT_GE(fd, 0);
    EXPECT_EQ(lseek(fd, 0, SEEK_DATA), 0);
    EXPECT_LT(lseek(fd, 0, SEEK_HOLE), 2 << 20);
    EXPECT_EQ(lseek(fd, 32 << 20, SEEK_DATA), -1);
    EXPECT_EQ(errno, ENXIO);
    EXPECT_EQ(open(shown.c_str(), O_RDWR | O_CLOEXEC), -1);
    EXPECT_EQ(errno, EROFS);

    EXPECT_TRUE(refused(insp({"umount", directory_}, environment_of_backups()), kFailed, "in use"));
    close(fd);
    EXPECT_TRUE(refused(insp({"backup", "forget", "debian"}, environment_of_backups()), kFailed, "in use"))
        << "what is shown must not go";
    ok({"umount", directory_});
    EXPECT_TRUE(fs::is_empty(directory_));
    EXPECT_TRUE(fs::is_empty(scratch() / "repository/locks"));
}

// Who mounts goes to / afterwards.
TEST_F(BackupMount, OfARepositoryThatIsNamedFromHere) {
    Options options = environment_of_backups();
    options.env["RESTIC_REPOSITORY"] = fs::relative(scratch() / "repository");
    const std::string disk = scratch() / "disk.img";
    write_host_file(disk, std::string(1 << 20, 'x'));
    insp_ok({"backup", "create", "-q", disk}, options);
    insp_ok({"backup", "mount", directory_}, options);
    EXPECT_TRUE(same_bytes(directory_ / "guests/disk/latest/disk0.raw", disk));
    insp_ok({"umount", directory_}, options);
}

TEST_F(BackupMount, ShowsWhatResticMade) {
    if (!have_program("restic")) GTEST_SKIP() << "restic is not installed";
    fs::create_directories(scratch() / "tree/below");
    write_host_file(scratch() / "tree/below/file", "contents\n");
    write_host_file(scratch() / "tree/empty", "");
    ASSERT_TRUE(
        run({"restic", "--no-cache", "-q", "backup", scratch() / "tree"}, environment_of_backups()).ok());
    ok({"backup", "mount", directory_});
    const fs::path top = directory_ / "snapshots/latest" / (scratch() / "tree").relative_path();
    EXPECT_EQ(read_host_file(top / "below/file"), "contents\n");
    EXPECT_EQ(read_host_file(top / "empty"), "");
    ok({"umount", directory_});
}

TEST_F(BackupMount, ADamagedChunkIsAnErrorAndNoWrongData) {
    const std::string disk = scratch() / "disk.img";
    std::string bytes;
    for (int i = 0; bytes.size() < 2 << 20; ++i) bytes += std::to_string(i * 7919);
    write_host_file(disk, bytes);
    ok({"backup", "create", "-q", disk});
    for (const auto& entry : fs::recursive_directory_iterator(scratch() / "repository/data")) {
        if (!entry.is_regular_file() || entry.file_size() < 100'000) continue;
        fs::permissions(entry.path(), fs::perms::owner_all);
        std::string pack = read_host_file(entry.path());
        pack[1000] ^= 1;
        write_host_file(entry.path(), pack);
    }
    ok({"backup", "mount", directory_});
    const Outcome copied = run({"cat", directory_ / "guests/disk/latest/disk0.raw"});
    EXPECT_EQ(copied.code, 1);
    EXPECT_THAT(copied.err, HasSubstr("Input/output error"));
    ok({"umount", directory_});
}

TEST_F(BackupMount, RefusesWhatCannotBe) {
    const Options options = environment_of_backups();
    EXPECT_EQ(insp({"backup", "mount"}, options).code, kUsage);
    write_host_file(directory_ / "file", "");
    EXPECT_TRUE(refused(insp({"backup", "mount", directory_}, options), kFailed, "not empty"));
    EXPECT_TRUE(refused(insp({"backup", "mount", scratch() / "nowhere"}, options), kFailed, "nowhere"));
    Options wrong = options;
    wrong.env["RESTIC_PASSWORD"] = "wrong";
    EXPECT_TRUE(refused(insp({"backup", "mount", "-o", "nonempty", directory_}, wrong), kFailed, "password"));
}

TEST_F(BackupMount, AGuestsTreeOutOfABackup) {
    if (!INSP_APPLIANCE_BUILT) GTEST_SKIP() << "the appliance is not built (INSP_APPLIANCE=OFF)";
    ok({"backup", "create", "-q", guest("fake-debian"), "--name", "debian"});
    ok({"mount", "--ro", "-a", "backup::debian", directory_});
    EXPECT_EQ(read_host_file(directory_ / "etc/fstab"),
              debugfs(cut_out(guest("fake-debian"), 1), "cat /etc/fstab"));
    ok({"umount", directory_});
    EXPECT_TRUE(fs::is_empty(scratch() / "repository/locks"));
}

}  // namespace
}  // namespace inspect::test
