// SPDX-License-Identifier: GPL-2.0-or-later
//
// The scripts of docs/fleet, run as a site would run them.
#include <signal.h>
#include <unistd.h>

#include <set>

#include "support/insp.h"

namespace inspect::test {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using ::testing::HasSubstr;

class Fleet : public InspTest {
  protected:
    void SetUp() override {
        InspTest::SetUp();
        if (!have_program("restic")) GTEST_SKIP() << "restic is not installed";
        fs::create_directory(scratch() / "images");
        insp_ok({"backup", "init"}, with_repository());
    }
    Options with_repository() const {
        std::string path = fs::path(INSP_PROGRAM).parent_path().string() + ":" + getenv("PATH");
        write_host_file(scratch() / "password", "secret\n");
        return {.env = {{"RESTIC_REPOSITORY", scratch() / "repository"},
                        {"RESTIC_PASSWORD_FILE", scratch() / "password"},
                        {"PATH", path},
                        {"FLEET", std::string(INSP_SOURCE_DIR) + "/docs/fleet"}},
                .directory = scratch()};
    }
    Outcome script(const Args& args) const { return run(args, environment(with_repository())); }
    static std::string fleet(const std::string& name) {
        return std::string(INSP_SOURCE_DIR) + "/docs/fleet/" + name;
    }
    void image(const std::string& guest, const std::string& name) const {
        fs::rename(copy_of(guest), scratch() / "images" / name);
    }
    size_t snapshots() const {
        json list = insp_json({"backup", "list", "--json"}, with_repository());
        return (list.is_object() ? list["snapshots"] : list).size();
    }
};

TEST_F(Fleet, NightlyBackup) {
    image("ext4", "web-01.img");
    image("gpt", "db-01.raw");
    for (int night = 0; night < 2; ++night) {
        Outcome done = script({fleet("nightly-backup.sh"), scratch() / "images"});
        ASSERT_TRUE(done.ok()) << done.describe();
        EXPECT_EQ(std::count(done.out.begin(), done.out.end(), '\n'), 2) << "a line an image";
        EXPECT_NO_THROW(json::parse(done.out.substr(0, done.out.find('\n')))) << done.out;
    }
    EXPECT_EQ(snapshots(), 2U) << "of one day one is kept of each guest";
    // One that can't be backed up is told, and the others are.
    image("ext4", "web-02.img");
    fs::create_symlink("missing", scratch() / "images" / "gone.img");
    write_host_file(scratch() / "images" / "bad.qcow2", "QFI\xfb and no more");
    Outcome partly = script({fleet("nightly-backup.sh"), scratch() / "images"});
    EXPECT_EQ(partly.code, 1) << partly.describe();
    EXPECT_THAT(partly.err, HasSubstr("bad.qcow2"));
    EXPECT_EQ(snapshots(), 3U);
}

TEST_F(Fleet, AnArrayOfTasks) {
    if (!have_program("parallel")) GTEST_SKIP() << "GNU parallel is not installed";
    std::string list;
    for (int i = 0; i < 4; ++i) {
        std::string name = "vm-" + std::to_string(i) + ".img";
        image("ext4", name);
        list += (scratch() / "images" / name).string() + "\n";
    }
    write_host_file(scratch() / "list", list);
    Outcome done = script({"parallel", "--will-cite", "--jobs", "2", fleet("backup-one.sh"),
                           scratch() / "list", "{}", ":::", "1", "2", "3", "4"});
    ASSERT_TRUE(done.ok()) << done.describe();
    EXPECT_EQ(snapshots(), 4U);
    EXPECT_EQ(script({fleet("backup-one.sh"), scratch() / "list", "5"}).code, 2);
    // A task of Slurm's is told its number like this.
    Options task = with_repository();
    task.env["SLURM_ARRAY_TASK_ID"] = "2";
    Outcome one = run({"sh", fleet("backup.slurm"), scratch() / "list"}, environment(task));
    EXPECT_TRUE(one.ok()) << one.describe();
    EXPECT_EQ(snapshots(), 5U);
}

TEST_F(Fleet, AnArrayOfSlurms) {
    if (geteuid() != 0) GTEST_SKIP() << "Slurm's daemons need root";
    for (const char* program : {"slurmctld", "slurmd", "sbatch", "munged"})
        if (!have_program(program)) GTEST_SKIP() << program << " is not installed";
    std::string list;
    for (int i = 1; i <= 3; ++i) {
        std::string name = "vm-" + std::to_string(i) + ".img";
        image("ext4", name);
        list += (scratch() / "images" / name).string() + "\n";
    }
    write_host_file(scratch() / "list", list);
    Outcome done =
        script({std::string(INSP_SOURCE_DIR) + "/tests/integration/support/one-node-slurm.sh",
                scratch() / "slurm", "sbatch", "--wait", "--array=1-3%2", "--cpus-per-task=1", "--mem=100M",
                "--output=" + (scratch() / "%a.out").string(), fleet("backup.slurm"), scratch() / "list"});
    if (done.code == 77) GTEST_SKIP() << "Slurm doesn't start here: " << done.err;
    ASSERT_TRUE(done.ok()) << done.describe();
    EXPECT_EQ(snapshots(), 3U);
    for (const char* task : {"1", "2", "3"}) {
        json told = json::parse(read_host_file(scratch() / (std::string(task) + ".out")));
        EXPECT_EQ(told["backups"][0]["guest"], std::string("vm-") + task) << told;
    }
}

TEST_F(Fleet, ClonePipeline) {
    std::string made = scratch() / "clones", source = guest("debian12-small");
    for (int count : {1, 2}) {  // the second time one is there already
        Outcome done = script({fleet("clone-pipeline.sh"), source, made, std::to_string(count)});
        ASSERT_TRUE(done.ok()) << done.describe();
        EXPECT_EQ(std::count(done.out.begin(), done.out.end(), '\n'), 1);
    }
    std::set<std::string> uuids;
    for (const std::string name : {"web-001", "web-002"}) {
        std::string image = made + "/" + name + ".qcow2";
        EXPECT_TRUE(run({"qemu-img", "check", "-q", image}).ok());
        Args in{"--allow-backing", "-a", image};
        auto cat = [&](const std::string& path) {
            Args args{"cat", path};
            args.insert(args.end(), in.begin(), in.end());
            return insp_ok(args, with_repository());
        };
        EXPECT_EQ(cat("/etc/hostname"), name + "\n");
        EXPECT_THAT(cat("/var/lib/cloud/seed/nocloud/meta-data"), HasSubstr("local-hostname: " + name));
        std::string fstab = cat("/etc/fstab");
        size_t at = fstab.find("UUID=");
        ASSERT_NE(at, std::string::npos) << fstab;
        uuids.insert(fstab.substr(at + 5, 36));
    }
    uuids.insert("00000113-0113-4113-8113-000000000113");  // the template's
    EXPECT_EQ(uuids.size(), 3U);
}

// Killed while a clone is made, and when the first one has its name, it is only to be run again.
TEST_F(Fleet, AKilledClonePipelineIsRunAgain) {
    const std::string source = guest("debian12-small");
    for (const bool when_named : {false, true}) {
        const fs::path made = scratch() / (when_named ? "named" : "unnamed");
        const auto has_some = [&] {
            std::error_code none_yet;
            for (const auto& entry : fs::directory_iterator(made, none_yet)) {
                const bool named = entry.path().string().find(".insp-") == std::string::npos;
                if (named == when_named) return true;
            }
            return false;
        };
        Options options = with_repository();
        options.env["TMPDIR"] = scratch();  // what it had made there is lost
        const Args args{fleet("clone-pipeline.sh"), source, made, "2"};
        Child child(args, environment(options));
        while (child.running() && !has_some()) usleep(1000);
        child.kill_group(SIGKILL);
        child.wait();
        Outcome again = script(args);
        ASSERT_TRUE(again.ok()) << again.describe();
        for (const std::string name : {"web-001", "web-002"}) {
            const std::string hostname =
                insp_ok({"cat", "--allow-backing", "-a", made / (name + ".qcow2"), "/etc/hostname"},
                        with_repository());
            EXPECT_EQ(hostname, name + "\n");
        }
    }
}

}  // namespace
}  // namespace inspect::test
