// SPDX-License-Identifier: GPL-2.0-or-later
//
// Backups: made, restored, checked, killed and damaged; restic is the judge. INSP_TEST_BACKUP_KILLS: how
// often a backup is killed.
#include <signal.h>
#include <unistd.h>

#include <cstdlib>
#include <random>
#include <regex>

#include "support/backups.h"

namespace inspect::test {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

class Backup : public BackupTest {
  protected:
    static void flip_a_bit(const fs::path& file, std::mt19937_64& random) {
        fs::permissions(file, fs::perms::owner_all);
        std::string bytes = read_host_file(file);
        bytes[random() % bytes.size()] ^= static_cast<char>(1 << random() % 8);
        write_host_file(file, bytes);
    }
    fs::path only_file_in(const std::string& directory) const {
        for (const auto& entry : fs::recursive_directory_iterator(path() + "/" + directory))
            if (entry.is_regular_file()) return entry.path();
        return {};
    }
    // A number from the environment, for runs that are longer than a test may be.
    static int number(const char* variable, int otherwise) {
        const char* text = ::getenv(variable);
        return text != nullptr ? ::atoi(text) : otherwise;
    }
};

TEST_F(Backup, RestoresWhatItWasGiven) {
    const std::string disk = random_disk("odd.img", (3 << 20) + 1234, 1);
    create({disk});
    EXPECT_TRUE(same_bytes(restore("odd"), disk));
    const std::string qcow2 = restore("odd", {"--output-format=qcow2"});
    const Outcome compared = run({"qemu-img", "compare", "-f", "qcow2", "-F", "raw", qcow2, disk});
    EXPECT_TRUE(compared.code == 0 || compared.out.find("identical") != std::string::npos)
        << compared.describe();
    EXPECT_TRUE(run({"qemu-img", "check", "-f", "qcow2", qcow2}).ok());
    EXPECT_TRUE(sound());
    if (!have_program("restic")) GTEST_SKIP() << "restic is not installed";
    EXPECT_TRUE(restic({"restore", "latest", "--target", scratch() / "by-restic"}).ok());
    EXPECT_TRUE(same_bytes(scratch() / "by-restic/odd/disk0.raw", disk));
}

TEST_F(Backup, LeavesOutWhatIsFree) {
    const std::string disk = copy_of("fake-debian");
    create({disk, "--name", "debian"});
    const std::string restored = restore("debian");
    EXPECT_EQ(fs::file_size(restored), fs::file_size(disk));
    const std::string before = cut_out(disk, 1), after = cut_out(restored, 1);
    EXPECT_TRUE(ext_is_clean(after));
    EXPECT_EQ(debugfs(after, "cat /etc/fstab"), debugfs(before, "cat /etc/fstab"));
    EXPECT_EQ(debugfs(after, "ls -l -R /"), debugfs(before, "ls -l -R /"));
    create({disk, "--name", "whole", "--all-blocks"});
    EXPECT_TRUE(same_bytes(restore("whole"), disk));
}

TEST_F(Backup, AHugeHoleCostsNothing) {
    const std::string disk = scratch() / "huge.img";
    write_host_file(disk, "x");
    fs::resize_file(disk, uint64_t{1} << 40);
    const auto made = insp_json({"backup", "create", "--json", disk}, repository());
    EXPECT_LT(made["backups"][0]["stored"].get<uint64_t>(), 100'000U);
    EXPECT_LT(made["backups"][0]["new_chunks"].get<uint64_t>(), 10U);
    const auto info = insp_json({"backup", "info", "--json"}, repository());
    EXPECT_EQ(info["disks"][0]["size"].get<uint64_t>(), uint64_t{1} << 40);
    EXPECT_LE(info["disks"][0]["data_size"].get<uint64_t>(), 1U << 20);
    EXPECT_TRUE(sound());
}

TEST_F(Backup, TheSecondStoresOnlyWhatChanged) {
    const std::string disk = random_disk("disk.img", 16 << 20, 2);
    const auto first = insp_json({"backup", "create", "--json", disk}, repository())["backups"][0];
    const auto again =
        insp_json({"backup", "create", "--json", disk, "--trust-mtime"}, repository())["backups"][0];
    EXPECT_EQ(again["read"].get<uint64_t>(), 0U);
    EXPECT_EQ(again["unchanged"], first["disk_size"]);
    EXPECT_LT(again["stored"].get<uint64_t>(), 20'000U);
    EXPECT_EQ(again["parent"], first["snapshot"]);
    change(disk, 5 << 20, "changed");
    const auto third = insp_json({"backup", "create", "--json", disk}, repository())["backups"][0];
    EXPECT_EQ(third["new_chunks"].get<uint64_t>(), 4U) << "a chunk of data, guest.json and two directories";
    EXPECT_TRUE(same_bytes(restore("disk"), disk));
    EXPECT_TRUE(sound());
}

TEST_F(Backup, AnOverlayIsReadAlone) {
    const std::string disk = random_disk("base.img", 16 << 20, 3);
    create({disk, "--name", "guest"});
    const std::string overlay = scratch() / "overlay.qcow2";
    ASSERT_TRUE(run({"qemu-img", "create", "-q", "-f", "qcow2", "-b", disk, "-F", "raw", overlay}).ok());
    ASSERT_TRUE(run({"qemu-io", "-f", "qcow2", "-c", "write -P 9 8M 100k", overlay}).ok());
    const auto made = insp_json({"backup", "create", "--json", "--name", "guest", "--format=qcow2", overlay},
                                repository())["backups"][0];
    EXPECT_LE(made["read"].get<uint64_t>(), 1U << 20);
    EXPECT_GE(made["unchanged"].get<uint64_t>(), 15U << 20);
    const Outcome compared =
        run({"qemu-img", "compare", "-f", "raw", "-F", "qcow2", restore("guest"), overlay});
    EXPECT_TRUE(compared.ok()) << compared.describe();
}

TEST_F(Backup, RestoreOntoAnImageWritesWhatDiffers) {
    const std::string disk = random_disk("disk.img", 8 << 20, 4);
    create({disk});
    const std::string copy = scratch() / "copy.img";
    fs::copy_file(disk, copy);
    change(copy, 1 << 20, "changed");
    const Args args{"backup", "restore", "disk", "--target", copy, "--json"};
    EXPECT_EQ(insp(args, repository()).code, kFailed) << "it exists";
    Args overwrite = args;
    overwrite.push_back("--overwrite");
    EXPECT_EQ(insp_json(overwrite, repository())["written"].get<uint64_t>(), 4096U);
    EXPECT_TRUE(same_bytes(copy, disk));
    fs::resize_file(copy, 4 << 20);
    overwrite.pop_back();
    overwrite.back() = "--overwrite";
    EXPECT_TRUE(refused(insp(overwrite, repository()), kFailed, "too small"));
}

TEST_F(Backup, RestoresTheDisksThatAreWantedIntoADirectory) {
    const std::string first = random_disk("first.img", 1 << 20, 18),
                      second = random_disk("second.img", 1 << 20, 19);
    create({"-a", first, "-a", second, "--name", "guest"});
    const auto into = [&](const std::string& name, const Args& more) {
        fs::create_directory(scratch() / name);
        Args args{"backup", "restore", "-q", "guest", "--target", scratch() / name};
        args.insert(args.end(), more.begin(), more.end());
        return insp(args, repository());
    };
    EXPECT_TRUE(into("both", {}).ok());
    EXPECT_TRUE(same_bytes(scratch() / "both" / "disk0.raw", first));
    EXPECT_TRUE(same_bytes(scratch() / "both" / "disk1.raw", second));
    EXPECT_TRUE(into("by-number", {"--disk", "1"}).ok());
    EXPECT_TRUE(same_bytes(scratch() / "by-number" / "disk1.raw", second));
    EXPECT_FALSE(fs::exists(scratch() / "by-number" / "disk0.raw"));
    EXPECT_TRUE(into("by-name", {"--disk", "disk0.raw"}).ok());
    EXPECT_TRUE(same_bytes(scratch() / "by-name" / "disk0.raw", first));
    EXPECT_TRUE(refused(into("none", {"--disk", "2"}), kFailed, "has no disk '2'"));
    EXPECT_TRUE(fs::is_empty(scratch() / "none"));
    // restic's snapshots may have files of the same name in several directories.
    if (!have_program("restic")) return;
    for (const char* directory : {"a", "b"}) {
        fs::create_directory(scratch() / directory);
        fs::copy_file(first, scratch() / directory / "same.img");
    }
    ASSERT_TRUE(restic({"backup", scratch() / "a", scratch() / "b"}).ok());
    fs::create_directory(scratch() / "twice");
    const Outcome twice =
        insp({"backup", "restore", "latest", "--target", scratch() / "twice"}, repository());
    EXPECT_TRUE(refused(twice, kUsage, "--disk"));
    EXPECT_TRUE(fs::is_empty(scratch() / "twice"));
}

TEST_F(Backup, ReadsWhatResticMade) {
    if (!have_program("restic")) GTEST_SKIP() << "restic is not installed";
    const std::string disk = random_disk("disk.img", 8 << 20, 5);
    ASSERT_TRUE(restic({"backup", disk}).ok());
    EXPECT_THAT(insp_ok({"backup", "list"}, repository()), HasSubstr("disk.img"));
    EXPECT_TRUE(same_bytes(restore("latest"), disk));
}

TEST_F(Backup, ForgetsByAPolicyAndResticPrunes) {
    const std::string disk = random_disk("disk.img", 2 << 20, 6);
    for (int i = 0; i < 4; ++i) create({disk, "--tag", "n" + std::to_string(i)});
    create({disk, "--name", "other"});
    EXPECT_EQ(insp_json({"backup", "forget", "--keep-last", "2", "--keep-tag", "n0", "--json", "-n"},
                        repository())["removed"]
                  .size(),
              1U);
    EXPECT_EQ(insp_json({"backup", "list", "--json"}, repository())["snapshots"].size(), 5U) << "a dry run";
    insp_ok({"backup", "forget", "-q", "--keep-last", "2", "--keep-tag", "n0"}, repository());
    EXPECT_EQ(insp_json({"backup", "list", "--json"}, repository())["snapshots"].size(), 4U);
    insp_ok({"backup", "forget", "-q", "other"}, repository());
    EXPECT_EQ(insp({"backup", "list", "--guest", "other"}, repository()).code, kNothingMatched);
    if (!have_program("restic")) GTEST_SKIP() << "restic is not installed";
    insp_ok({"backup", "forget", "-q", "--keep-last", "1", "--prune"}, repository());
    EXPECT_TRUE(sound());
    EXPECT_TRUE(same_bytes(restore("disk"), disk));
}

TEST_F(Backup, ForgetsOnlyWhatIsSelected) {
    const std::string disk = random_disk("disk.img", 1 << 20, 20);
    for (const std::string tag : {"nightly", "weekly", "nightly", "weekly"}) create({disk, "--tag", tag});
    const Args nightly{"backup", "forget", "-q", "--tag", "nightly", "--keep-last", "1"};
    insp_ok(nightly, repository());
    const auto left = insp_json({"backup", "list", "--json"}, repository())["snapshots"];
    ASSERT_EQ(left.size(), 3U);
    EXPECT_EQ(left[0]["tags"][0], "weekly");
    EXPECT_EQ(left[2]["tags"][0], "weekly");
    insp_ok(nightly, repository());
    Args both = nightly;
    both.insert(both.end(), {"--tag", "weekly"});
    insp_ok(both, repository());
    EXPECT_EQ(insp_json({"backup", "list", "--json"}, repository())["snapshots"].size(), 3U);
    // A name is a snapshot, and the newest at that: not what a policy would do.
    EXPECT_TRUE(refused(insp({"backup", "forget", "disk", "--keep-daily", "7"}, repository()), kUsage,
                        "--guest disk"));
    EXPECT_EQ(insp_json({"backup", "list", "--json"}, repository())["snapshots"].size(), 3U);
    const Outcome none = insp({"backup", "list", "--tag", "yearly"}, repository());
    EXPECT_TRUE(refused(none, kNothingMatched, "no such snapshot"));
}

// What is for another action is not ignored.
TEST_F(Backup, RefusesTheOptionsOfOtherActions) {
    const std::string disk = random_disk("disk.img", 1 << 20, 21), target = scratch() / "target";
    create({disk});
    const auto refuses = [&](Args args, const std::string& text) {
        args.insert(args.begin(), "backup");
        EXPECT_TRUE(refused(insp(args, repository()), kUsage, text)) << args[1];
    };
    refuses({"restore", "-n", "disk", "--target", target}, "--dry-run");
    EXPECT_FALSE(fs::exists(target));
    refuses({"restore", "disk", "disk", "--target", target}, "[SNAPSHOT]");
    refuses({"list", "disk"}, "backup list");
    refuses({"verify", "disk"}, "backup verify");
    refuses({"init", scratch() / "other"}, "backup init");
    refuses({"info", "disk", "--tag", "x"}, "create, list, forget");
    refuses({"create", disk, "--keep-last", "1"}, "forget");
    refuses({"create", disk, "--stats"}, "diff");
    refuses({"create", disk, "--engine=steam"}, "steam");
    refuses({"list", "-a", disk}, "create");
    refuses({"diff", "disk"}, "SNAPSHOT SNAPSHOT");
}

TEST_F(Backup, OperandsAreImagesLikeAnyOther) {
    const std::string disk = random_disk("disk.img", 1 << 20, 22), image = scratch() / "disk.qcow2";
    ASSERT_TRUE(run({"qemu-img", "convert", "-f", "raw", "-O", "qcow2", disk, image}).ok());
    ASSERT_TRUE(run({"qemu-img", "snapshot", "-c", "before", image}).ok());
    ASSERT_TRUE(run({"qemu-io", "-f", "qcow2", "-c", "write -P 0x55 0 64k", image}).ok());
    create({"--format=qcow2", "--disk-snapshot=before", image, "--name", "then"});
    EXPECT_TRUE(same_bytes(restore("then"), disk));
    create({image, "--name", "now"});
    EXPECT_FALSE(same_bytes(restore("now"), disk));
    // Of several, those that can't be backed up are named.
    const Outcome partly = insp({"backup", "create", "--json", image, scratch() / "gone.img"}, repository());
    EXPECT_EQ(partly.code, kFailed);
    const auto answer = nlohmann::json::parse(partly.out);
    EXPECT_EQ(answer["backups"].size(), 1U);
    EXPECT_EQ(answer["failed"], 1);
    EXPECT_EQ(answer["errors"][0]["guest"], "gone");
    EXPECT_EQ(answer["errors"][0]["kind"], "not-found");
}

TEST_F(Backup, KilledAtAnyMomentItLosesNothing) {
    const std::string kept = random_disk("kept.img", 4 << 20, 7);
    create({kept});
    const std::string disk = random_disk("killed.img", 48 << 20, 8);
    std::mt19937_64 random(9);
    for (int i = 0; i < number("INSP_TEST_BACKUP_KILLS", 12); ++i) {
        Child child(command({"backup", "create", "-q", "--all-blocks", disk}), environment(repository()));
        ::usleep(static_cast<useconds_t>(random() % 400'000));
        child.kill(SIGKILL);
        child.wait();
    }
    EXPECT_TRUE(same_bytes(restore("kept"), kept));
    create({disk});
    EXPECT_TRUE(same_bytes(restore("killed"), disk));
    insp_ok({"backup", "verify", "-q", "--read-data"}, repository());
    EXPECT_TRUE(sound());
}

TEST_F(Backup, TwoWritersAtOnce) {
    const std::string one = random_disk("one.img", 16 << 20, 10), two = random_disk("two.img", 16 << 20, 10);
    Child first(command({"backup", "create", "-q", one}), environment(repository()));
    Child second(command({"backup", "create", "-q", two}), environment(repository()));
    EXPECT_TRUE(first.wait().ok());
    EXPECT_TRUE(second.wait().ok());
    EXPECT_TRUE(same_bytes(restore("one"), one));
    EXPECT_TRUE(same_bytes(restore("two"), two));
    EXPECT_TRUE(sound());
}

TEST_F(Backup, VerifyFindsEveryFlippedBitAndSaysWhoIsAffected) {
    create({random_disk("small.img", 1 << 20, 11)});
    std::mt19937_64 random(12);
    std::vector<fs::path> files;
    for (const auto& entry : fs::recursive_directory_iterator(path()))
        if (entry.is_regular_file()) files.push_back(entry.path());
    for (int i = 0; i < number("INSP_TEST_BACKUP_FLIPS", 20); ++i) {
        const fs::path& file = files[random() % files.size()];
        const std::string before = read_host_file(file);
        flip_a_bit(file, random);
        const Outcome found = insp({"backup", "verify", "--read-data"}, repository());
        EXPECT_EQ(found.code, kFailed) << file << found.describe();
        if (file.string().find("/data/") != std::string::npos) {
            EXPECT_THAT(found.out, HasSubstr(file.filename().string()));
        }
        write_host_file(file, before);
    }
    insp_ok({"backup", "verify", "-q", "--read-data"}, repository());
    fs::remove(only_file_in("data"));
    const Outcome lost = insp({"backup", "verify"}, repository());
    EXPECT_EQ(lost.code, kFailed);
    EXPECT_THAT(lost.out, HasSubstr("affected: snapshot"));
    EXPECT_THAT(lost.out, HasSubstr("/small"));
}

TEST_F(Backup, AMissingIndexIsMadeAnew) {
    const std::string disk = random_disk("disk.img", 4 << 20, 13);
    create({disk});
    fs::remove(only_file_in("index"));
    EXPECT_EQ(insp({"backup", "verify"}, repository()).code, kFailed);
    const auto made = insp_json({"backup", "create", "--json", disk}, repository())["backups"][0];
    EXPECT_LE(made["new_chunks"].get<uint64_t>(), 3U) << "the data are there already";
    insp_ok({"backup", "verify", "-q", "--read-data"}, repository());
    EXPECT_TRUE(sound());
}

TEST_F(Backup, RefusesBadInput) {
    const std::string disk = random_disk("disk.img", 1 << 20, 14);
    Options wrong = repository();
    wrong.env["RESTIC_PASSWORD"] = "wrong";
    EXPECT_TRUE(refused(insp({"backup", "create", disk}, wrong), kFailed, "the password opens none"));
    // Once, and not for every image.
    const Outcome several = insp({"backup", "create", disk, random_disk("other.img", 1 << 20, 17)}, wrong);
    EXPECT_TRUE(refused(several, kFailed, "the password opens none"));
    EXPECT_EQ(several.err.find("the password opens none"), several.err.rfind("the password opens none"));
    wrong.env["RESTIC_PASSWORD"] = "";
    EXPECT_TRUE(refused(insp({"backup", "list"}, wrong), kUsage, "--password-file"));
    EXPECT_TRUE(refused(insp({"backup", "init"}, repository()), kFailed, "already"));
    EXPECT_TRUE(
        refused(insp({"backup", "create", scratch() / "missing.img"}, repository()), kFailed, "missing.img"));
    EXPECT_TRUE(refused(insp({"backup", "restore", "nobody", "--target", scratch() / "x"}, repository()),
                        kFailed, "no snapshots"));
    EXPECT_TRUE(refused(insp({"backup", "create", disk, "--name", "a/b"}, repository()), kUsage, "--name"));
    EXPECT_FALSE(fs::exists(scratch() / "x"));
    EXPECT_EQ(insp({"backup", "nonsense"}, repository()).code, kUsage);
    EXPECT_EQ(insp_json({"backup", "list", "--json"}, repository())["snapshots"].size(), 0U);
}

TEST_F(Backup, APasswordFromAFileAndFromACommand) {
    write_host_file(scratch() / "password", "correct horse\n");
    Options options = repository();
    options.env["RESTIC_PASSWORD"] = "";
    insp_ok({"backup", "list", "--password-file", scratch() / "password"}, options);
    insp_ok({"backup", "list", "--password-command", "echo 'correct horse'"}, options);
    options.env["RESTIC_PASSWORD_FILE"] = scratch() / "password";
    insp_ok({"backup", "list"}, options);
    options.env["RESTIC_REPOSITORY"] = "";
    write_host_file(scratch() / "where", path() + "\n");
    options.env["RESTIC_REPOSITORY_FILE"] = scratch() / "where";
    insp_ok({"backup", "list"}, options);
    // It has found the repository.
    EXPECT_TRUE(refused(insp({"backup", "diff", "latest", "latest"}, options), kFailed, "no snapshots"));
}

TEST_F(Backup, IsServedLikeAnImage) {
    const std::string disk = random_disk("disk.img", 4 << 20, 15);
    create({disk});
    const std::string socket = scratch() / "s";
    Child server(command({"serve", "-a", "backup::disk", "--read-only", "--once", "--socket", socket}),
                 environment(repository()));
    for (int i = 0; i < 200 && !fs::exists(socket); ++i) ::usleep(50'000);
    const Outcome compared =
        run({"qemu-img", "compare", "-f", "raw", "-F", "raw", "nbd+unix:///?socket=" + socket, disk});
    EXPECT_TRUE(compared.ok()) << compared.describe();
    EXPECT_TRUE(server.wait().ok());
    EXPECT_EQ(insp({"serve", "-a", "backup::disk", "--once", "--socket", socket}, repository()).code, kFailed)
        << "a backup can't be written";
}

TEST_F(Backup, OnAServer) {
    if (!have_program("rclone")) GTEST_SKIP() << "rclone is not installed";
    if (!fs::exists(INSP_BUILD_DIR "/libexec/libinspect/insp-rest")) GTEST_SKIP() << "built without libcurl";
    const std::string port = std::to_string(20000 + ::getpid() % 20000);
    Child server({"rclone", "serve", "restic", "--addr", "127.0.0.1:" + port, scratch() / "served"});
    Options options = repository();
    options.env["RESTIC_REPOSITORY"] = "rest:http://127.0.0.1:" + port + "/";
    const std::string disk = random_disk("disk.img", 8 << 20, 16);
    insp_ok({"backup", "init", "-q"}, options);
    insp_ok({"backup", "create", "-q", disk}, options);
    const std::string target = scratch() / "out.img";
    insp_ok({"backup", "restore", "-q", "--target", target}, options);
    EXPECT_TRUE(same_bytes(target, disk));
    insp_ok({"backup", "verify", "-q", "--read-data"}, options);
    if (have_program("restic")) {
        EXPECT_TRUE(run({"restic", "--no-cache", "check", "--read-data"}, options).ok());
    }
    insp_ok({"backup", "forget", "-q", "latest"}, options);
    EXPECT_EQ(insp_json({"backup", "list", "--json"}, options)["snapshots"].size(), 0U);
    server.kill(SIGTERM);
    server.wait();
}

class BackupInAppliance : public ApplianceTest {};

TEST_F(BackupInAppliance, CatReadsOnlyWhatItNeeds) {
    Options options;
    options.env = {{"RESTIC_REPOSITORY", scratch() / "repository"}, {"RESTIC_PASSWORD", "x"}};
    insp_ok({"backup", "init", "-q"}, options);
    insp_ok({"backup", "create", "-q", guest("fake-debian"), "--name", "debian"}, options);
    const std::string image = cut_out(guest("fake-debian"), 1);
    const Outcome outcome = insp({"cat", "-v", "-a", "backup::debian", "/etc/fstab"}, options);
    EXPECT_TRUE(outcome.ok()) << outcome.describe();
    EXPECT_EQ(outcome.out, debugfs(image, "cat /etc/fstab"));
    EXPECT_THAT(outcome.err, HasSubstr("were read from the repository"));
    insp_ok({"backup", "verify", "-q", "--inspect"}, options);
    // How the appliance runs is said here as everywhere.
    options.env["INSP_ENGINE"] = "steam";
    for (const Args& args : {Args{"verify"}, Args{"create", guest("fake-debian"), "--name", "debian"}}) {
        Args all{"backup", args[0], "-q", "--inspect", "--engine=auto"};
        all.insert(all.end(), args.begin() + 1, args.end());
        insp_ok(all, options);
    }
    options.env.erase("INSP_ENGINE");
    EXPECT_THAT(insp_ok({"backup", "info"}, options), HasSubstr("Debian"));
    EXPECT_TRUE(refused(insp({"touch", "-a", "backup::debian", "/x"}, options), kFailed, "can't be changed"));
}

TEST_F(BackupInAppliance, OfARealGuestCatReadsLessThanATwentieth) {
    Options options;
    options.env = {{"RESTIC_REPOSITORY", scratch() / "repository"}, {"RESTIC_PASSWORD", "x"}};
    insp_ok({"backup", "init", "-q"}, options);
    insp_ok({"backup", "create", "-q", guest("debian12-small"), "--name", "debian"}, options);
    const Outcome outcome = insp({"cat", "-v", "-a", "backup::debian", "/etc/fstab"}, options);
    EXPECT_THAT(outcome.out, HasSubstr("UUID="));
    std::smatch found;
    ASSERT_TRUE(std::regex_search(outcome.err, found, std::regex("with (\\d+) bytes were read")))
        << outcome.describe();
    const auto disk = insp_json({"backup", "info", "--json"}, options)["disks"][0];
    EXPECT_LT(20 * std::stoull(found[1]), disk["data_size"].get<uint64_t>());
}

}  // namespace
}  // namespace inspect::test
