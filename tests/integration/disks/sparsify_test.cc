// SPDX-License-Identifier: GPL-2.0-or-later
//
// insp sparsify: what was free takes no room, and all else is as it was. Each guest is first filled with
// random data that is removed again. e2fsck, xfs_repair, fsck.fat, btrfs, debugfs, qemu-img and du are the
// judges; what files hold is hashed by busybox in an appliance of its own.
#include <signal.h>
#include <sys/stat.h>

#include <cstdlib>
#include <random>

#include "support/insp.h"

namespace inspect::test {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr const char* kKey = "all:key:guest-key";

uint64_t allocated(const std::string& path) {
    struct stat status = {};
    EXPECT_EQ(::stat(path.c_str(), &status), 0) << path;
    return static_cast<uint64_t>(status.st_blocks) * 512;
}

class Sparsify : public ApplianceTest {
  protected:
    Options patient() const { return {.timeout = std::chrono::minutes(3)}; }
    Outcome sparsify(Args args) const {
        args.insert(args.begin(), "sparsify");
        return insp(args, patient());
    }
    json sparsify_ok(Args args) const {
        args.insert(args.end(), {"--json"});
        const Outcome outcome = sparsify(std::move(args));
        EXPECT_TRUE(outcome.ok()) << outcome.describe();
        return outcome.ok() ? json::parse(outcome.out) : json{};
    }
    std::string in_appliance(const std::string& image, const std::string& script, bool writes,
                             const Args& more = {}) const {
        Args args = {"run", "-q", "-a", image, "--memory=256"};
        if (writes) args.insert(args.end(), "--rw");
        args.insert(args.end(), more.begin(), more.end());
        args.insert(args.end(), {"--", "/bin/sh", "-ec", script});
        const Outcome outcome = insp(args, patient());
        EXPECT_TRUE(outcome.ok()) << outcome.describe();
        return outcome.out;
    }
    // So many MiB of random data in a file of each device, which is removed again.
    void make_garbage(const std::string& image, const std::vector<std::string>& devices, int mib,
                      const Args& more = {}) const {
        std::string script;
        for (const std::string& device : devices)
            script += "mount -o nodiscard " + device + " /sysroot 2>/dev/null || mount " + device +
                      " /sysroot 2>/dev/null || ntfs-3g " + device +
                      " /sysroot; dd if=/dev/urandom of=/sysroot/garbage bs=1M count=" + std::to_string(mib) +
                      " 2>/dev/null; sync; rm /sysroot/garbage; umount /sysroot\n";
        in_appliance(image, script, true, more);
    }
    // Name, mode, owner, size and SHA-256 of everything on these devices.
    std::string contents(const std::string& image, const std::vector<std::string>& devices,
                         const Args& more = {}) const {
        std::string script;
        for (const std::string& device : devices)
            script += "mount -o ro " + device + " /sysroot 2>/dev/null || ntfs-3g -o ro " + device +
                      " /sysroot; cd /sysroot; find . -exec stat -c '%n %f %u %g %h' '{}' +; "
                      "find . -type f -exec sha256sum '{}' +; cd /; umount /sysroot\n";
        std::string text = in_appliance(image, script, false, more);
        EXPECT_FALSE(text.empty());
        return text;
    }
    static json volume(const json& report, const std::string& device) {
        for (const json& item : report.at("volumes"))
            if (item.at("device") == device) return item;
        ADD_FAILURE() << "nothing was said of " << device << ": " << report;
        return {{"result", "none"}};
    }
};

TEST_F(Sparsify, EveryFileSystemOfADisk) {
    const std::string image = copy_of("gpt");
    const std::vector<std::string> devices = {"/dev/sda1", "/dev/sda2", "/dev/sda5"};
    const std::string before = contents(image, devices);
    const uint64_t small = allocated(image);
    make_garbage(image, devices, 5);
    in_appliance(image, "dd if=/dev/urandom of=/dev/sda3 bs=64k seek=1 count=63 conv=notrunc 2>/dev/null",
                 true);
    const std::string swap = run({"/usr/sbin/blkid", "-p", cut_out(image, 3)}).out;
    ASSERT_GT(allocated(image), small + 15 * kMiB);

    const json report = sparsify_ok({"-a", image});
    EXPECT_EQ(report.at("in_place"), true);
    EXPECT_GT(report.at("images").at(0).at("allocated_before"), small + 15 * kMiB);
    EXPECT_EQ(report.at("images").at(0).at("allocated_after"), allocated(image));
    for (const std::string& device : devices) {
        EXPECT_EQ(volume(report, device).at("result"), "discarded") << report;
        EXPECT_GT(volume(report, device).at("free_bytes"), 5 * kMiB);
    }
    EXPECT_EQ(volume(report, "/dev/sda3").at("result"), "cleared");
    // What mounting leaves in the journals of ext4 and XFS.
    EXPECT_LE(allocated(image), small + 3 * kMiB);

    EXPECT_EQ(contents(image, devices), before);
    EXPECT_TRUE(ext_is_clean(cut_out(image, 1)));
    EXPECT_TRUE(run({"/usr/sbin/fsck.fat", "-n", cut_out(image, 2)}).ok());
    EXPECT_TRUE(xfs_is_clean(cut_out(image, 5)));
    const std::string after = cut_out(image, 3);
    EXPECT_EQ(run({"/usr/sbin/blkid", "-p", after}).out, swap);
    EXPECT_EQ(read_host_file(after).find_first_not_of('\0', 4096), std::string::npos);

    // There is nothing left to be gained.
    const uint64_t again = allocated(image);
    sparsify_ok({"--in-place", image});
    EXPECT_LE(allocated(image), again + 64 * 1024);
}

class SparsifyOther : public Sparsify, public ::testing::WithParamInterface<const char*> {};

TEST_P(SparsifyOther, FileSystem) {
    const std::string name = GetParam();
    const std::string image = copy_of(name);
    const std::string device = name.starts_with("btrfs") ? "/dev/sda1" : "/dev/sda";
    const bool several = name == "btrfs-raid1";
    auto look = [&] {
        return several ? insp_ok({"cat", "-a", image, "/home/alice/notes.txt"}, patient())
                       : contents(image, {device});
    };
    const std::string before = look();
    const uint64_t small = allocated(image);
    if (several) {
        in_appliance(image,
                     "mount -o device=/dev/sda2 /dev/sda1 /sysroot; dd if=/dev/urandom of=/sysroot/garbage "
                     "bs=1M count=4 2>/dev/null; sync; rm /sysroot/garbage; umount /sysroot",
                     true);
    } else {
        make_garbage(image, {device}, 5);
    }
    ASSERT_GT(allocated(image), small + 3 * kMiB);
    const json report = sparsify_ok({"-a", image});
    EXPECT_EQ(report.at("volumes").size(), 1u) << report;
    EXPECT_EQ(volume(report, device).at("result"), name == "udf" ? "filled" : "discarded");
    EXPECT_LE(allocated(image), small + 2 * kMiB);
    EXPECT_EQ(look(), before);
    if (name == "btrfs") {
        const Outcome checked = run({"btrfs", "check", "--readonly", cut_out(image, 1)});
        EXPECT_TRUE(checked.ok()) << checked.describe();
    } else if (name == "ext3") {
        EXPECT_TRUE(ext_is_clean(image));
    } else if (name == "f2fs" || name == "exfat") {
        const Outcome checked = run({"/usr/sbin/fsck." + name, name == "f2fs" ? "--dry-run" : "-n", image});
        EXPECT_TRUE(checked.ok()) << checked.describe();
    }
}

INSTANTIATE_TEST_SUITE_P(All, SparsifyOther,
                         ::testing::Values("btrfs", "btrfs-raid1", "f2fs", "exfat", "ntfs", "udf", "ext3"));

TEST_F(Sparsify, Qcow2) {
    if (!have_program("qemu-img")) GTEST_SKIP() << "qemu-img is not installed";
    const std::string raw = copy_of("ext4");
    make_garbage(raw, {"/dev/sda"}, 4);
    const std::string before = contents(raw, {"/dev/sda"});
    const std::string image = scratch() / "image.qcow2";
    // With its zeros allocated, too.
    ASSERT_TRUE(run({"qemu-img", "convert", "-S", "0", "-O", "qcow2", raw, image}).ok());
    const uint64_t large = allocated(image);
    const json report = sparsify_ok({"-a", image});
    EXPECT_EQ(volume(report, "/dev/sda").at("result"), "discarded");
    EXPECT_LT(allocated(image), large - 5 * kMiB);
    EXPECT_TRUE(run({"qemu-img", "check", image}).ok());
    ASSERT_TRUE(run({"qemu-img", "convert", "-O", "raw", image, scratch() / "after"}).ok());
    EXPECT_TRUE(ext_is_clean(scratch() / "after"));
    EXPECT_EQ(contents(image, {"/dev/sda"}), before);
    // The guest's clusters are gone from the image, not only from its file.
    const json map = json::parse(run({"qemu-img", "map", "--output=json", image}).out);
    uint64_t data = 0;
    for (const json& extent : map)
        if (extent.at("data") == true) data += extent.at("length").get<uint64_t>();
    EXPECT_LT(data, 3 * kMiB) << map;
}

TEST_F(Sparsify, Qcow2ChainsAndSnapshots) {
    if (!have_program("qemu-img")) GTEST_SKIP() << "qemu-img is not installed";
    const std::string base = copy_of("ext4", "base.img");
    make_garbage(base, {"/dev/sda"}, 3);
    const std::string base_sum = sha256(base), before = contents(base, {"/dev/sda"});
    const std::string image = scratch() / "top.qcow2", old = scratch() / "old.qcow2";
    ASSERT_TRUE(run({"qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", base, image}).ok());
    ASSERT_TRUE(run({"qemu-img", "snapshot", "-c", "earlier", image}).ok());
    const Outcome outcome = sparsify({"--format=qcow2", "-a", image});
    ASSERT_TRUE(outcome.ok()) << outcome.describe();
    EXPECT_THAT(outcome.err, HasSubstr("has snapshots: what they hold stays"));
    EXPECT_EQ(sha256(base), base_sum);
    EXPECT_TRUE(run({"qemu-img", "check", image}).ok());
    EXPECT_EQ(contents(image, {"/dev/sda"}, {"--allow-backing"}), before);
    ASSERT_TRUE(
        run({"qemu-img", "convert", "-l", "earlier", "-O", "raw", image, scratch() / "earlier"}).ok());
    EXPECT_TRUE(same_bytes(scratch() / "earlier", base));
    // It doesn't become the size of what it no longer has.
    EXPECT_LT(allocated(image), kMiB);

    ASSERT_TRUE(
        run({"qemu-img", "create", "-q", "-f", "qcow2", "-o", "compat=0.10", "-F", "raw", "-b", base, old})
            .ok());
    EXPECT_TRUE(refused(sparsify({"--format=qcow2", "-a", old}), kFailed, "compat=1.1"));
}

TEST_F(Sparsify, LogicalVolumesAndWhatIsFreeInTheirGroup) {
    const std::string image = copy_of("lvm");
    const std::vector<std::string> devices = {"/dev/sda1", "/dev/debian-vg/root", "/dev/debian-vg/home"};
    const std::string before = contents(image, devices);
    const uint64_t small = allocated(image);
    make_garbage(image, {"/dev/debian-vg/root", "/dev/debian-vg/home"}, 2);
    in_appliance(
        image,
        "lvcreate -qq -y -Zn -Wn -L 8m -n gone debian-vg; dd if=/dev/urandom of=/dev/debian-vg/gone bs=1M "
        "2>/dev/null || true; sync; lvremove -qq -f debian-vg/gone",
        true);
    ASSERT_GT(allocated(image), small + 10 * kMiB);
    const json report = sparsify_ok({"-a", image});
    EXPECT_EQ(volume(report, "/dev/debian-vg/root").at("result"), "discarded");
    EXPECT_EQ(volume(report, "/dev/debian-vg/swap_1").at("result"), "cleared");
    EXPECT_EQ(volume(report, "debian-vg").at("type"), "volume group");
    EXPECT_EQ(volume(report, "debian-vg").at("result"), "discarded");
    EXPECT_GE(volume(report, "debian-vg").at("free_bytes"), 8 * kMiB);
    EXPECT_LE(allocated(image), small + kMiB);
    EXPECT_EQ(contents(image, devices), before);
    EXPECT_EQ(insp_ok({"fsck", "-a", image}, patient()),
              "/dev/sda1: ext2: clean\n/dev/debian-vg/home: ext4: clean\n/dev/debian-vg/root: ext4: clean\n");
    in_appliance(image, "vgck debian-vg", false);

    make_garbage(image, {"/dev/debian-vg/root"}, 2);
    const json ignored =
        sparsify_ok({"-a", image, "--ignore", "/dev/debian-vg/root", "--ignore", "debian-vg"});
    EXPECT_EQ(ignored.at("volumes").size(), 3u) << ignored;
}

TEST_F(Sparsify, KindsOfLogicalVolumes) {
    const std::string image = copy_of("lvm-kinds");
    const json report = sparsify_ok({"-a", image});
    EXPECT_EQ(volume(report, "/dev/vg/mirrored").at("result"), "discarded");
    EXPECT_EQ(volume(report, "/dev/vg/thin").at("result"), "discarded");
    // The snapshot would have to keep what goes.
    EXPECT_EQ(volume(report, "/dev/vg/striped").at("result"), "skipped");
    EXPECT_THAT(volume(report, "/dev/vg/striped").at("reason").get<std::string>(), HasSubstr("snapshots"));
    for (const char* device :
         {"/dev/vg/mirrored", "/dev/vg/thin", "/dev/vg/striped-snap", "/dev/vg/thin-snap"})
        EXPECT_EQ(insp_ok({"cat", "-a", image, "-m", device, "/hello.txt"}, patient()), "hello, guest\n")
            << device;
    in_appliance(image, "lvconvert --help >/dev/null; vgck vg", false);
}

// Encrypted volumes, QEMU's own LUKS driver is the judge of what is in it.
TEST_F(Sparsify, EncryptedVolumesWhereTheUserAllowsIt) {
    const std::string image = copy_of("lvm-on-luks");
    const std::string root = "/dev/ubuntu-vg/ubuntu-lv";
    const std::string before = contents(image, {root}, {"--key", kKey});
    make_garbage(image, {root}, 3, {"--key", kKey});
    const uint64_t large = allocated(image);
    const json locked = sparsify_ok({"-a", image});
    EXPECT_EQ(volume(locked, "/dev/sda1").at("result"), "discarded");
    EXPECT_THAT(volume(locked, "/dev/sda2").at("reason").get<std::string>(), HasSubstr("--key"));
    const json careful = sparsify_ok({"-a", image, "--key", kKey});
    EXPECT_EQ(volume(careful, root).at("result"), "skipped");
    EXPECT_THAT(volume(careful, root).at("reason").get<std::string>(), HasSubstr("--allow-discards"));
    EXPECT_EQ(volume(careful, "ubuntu-vg").at("result"), "skipped");
    EXPECT_GT(allocated(image), large - kMiB);

    const json report = sparsify_ok({"-a", image, "--key", kKey, "--allow-discards"});
    EXPECT_EQ(volume(report, root).at("result"), "discarded");
    EXPECT_EQ(volume(report, "ubuntu-vg").at("result"), "discarded");
    EXPECT_LT(allocated(image), large - 3 * kMiB);
    EXPECT_EQ(contents(image, {root}, {"--key", kKey}), before);
    EXPECT_THAT(insp_ok({"fsck", "-a", image, "--key", kKey}, patient()),
                HasSubstr(root + ": ext4: clean\n"));
    const Outcome decrypted = run(
        {"qemu-img", "convert", "--object", "secret,id=key,data=guest-key", "--image-opts",
         "driver=luks,key-secret=key,file.filename=" + cut_out(image, 2), "-O", "raw", scratch() / "plain"});
    ASSERT_TRUE(decrypted.ok()) << decrypted.describe();
    EXPECT_THAT(read_host_file(scratch() / "plain"), HasSubstr("old-debian"));
}

TEST_F(Sparsify, IntoACopy) {
    if (!have_program("qemu-img")) GTEST_SKIP() << "qemu-img is not installed";
    const std::string image = copy_of("mbr");
    const std::vector<std::string> devices = {"/dev/sda1", "/dev/sda5", "/dev/sda6"};
    const std::string before = contents(image, devices);
    make_garbage(image, devices, 3);
    const std::string sum = sha256(image);
    const std::string raw = scratch() / "copy.img", qcow2 = scratch() / "copy.qcow2";
    const std::string packed = scratch() / "packed.qcow2", zlib = scratch() / "zlib.qcow2";
    const json report = sparsify_ok({image, raw});
    EXPECT_EQ(report.at("in_place"), false);
    EXPECT_EQ(report.at("images").at(0).at("path"), raw);
    sparsify_ok({"-a", image, "--output", qcow2, "--convert", "qcow2", "-o", "cluster_size=4K"});
    sparsify_ok({"--compress=zstd", image, packed});
    sparsify_ok({"--compress", "-a", image, "--output", zlib});
    EXPECT_EQ(sha256(image), sum);
    EXPECT_EQ(fs::file_size(raw), fs::file_size(image));
    for (const std::string& copy : {raw, qcow2, packed, zlib}) {
        EXPECT_EQ(contents(copy, devices), before) << copy;
        EXPECT_LT(allocated(copy) + 8 * kMiB, allocated(image)) << copy;
        if (copy == raw) continue;
        const Outcome checked = run({"qemu-img", "check", copy});
        EXPECT_TRUE(checked.ok()) << checked.describe();
        const std::string again = scratch() / "again";
        ASSERT_TRUE(run({"qemu-img", "convert", "-O", "raw", copy, again}).ok());
        EXPECT_TRUE(ext_is_clean(cut_out(again, 1)));
        EXPECT_TRUE(run({"/usr/sbin/fsck.fat", "-n", cut_out(again, 6)}).ok());
    }
    const json info = json::parse(run({"qemu-img", "info", "--output=json", packed}).out);
    EXPECT_EQ(info.at("format-specific").at("data").at("compression-type"), "zstd");
    EXPECT_LT(allocated(packed), allocated(raw));

    EXPECT_TRUE(refused(sparsify({image, raw}), kFailed, "is there already"));
    EXPECT_EQ(sparsify({image, raw + "2", "--compress", "--convert", "raw"}).code, kUsage);
    EXPECT_EQ(sparsify({"-a", image, "--compress"}).code, kUsage);
    const Outcome spaced = sparsify({image, "--compress", "zstd"});
    EXPECT_EQ(spaced.code, kUsage);
    EXPECT_THAT(spaced.err, HasSubstr("--compress=zstd"));
    EXPECT_EQ(sparsify({"--in-place", image, raw + "2"}).code, kUsage);
    const Outcome unclear = sparsify({image});
    EXPECT_EQ(unclear.code, kUsage);
    EXPECT_THAT(unclear.err, HasSubstr("--in-place"));
    EXPECT_EQ(sparsify({}).code, kUsage);
    EXPECT_EQ(sha256(image), sum);
}

TEST_F(Sparsify, Zero) {
    const std::string image = copy_of("gpt");
    const std::string before = contents(image, {"/dev/sda1"});
    const json report = sparsify_ok({"-a", image, "--zero", "/dev/sda5"});
    EXPECT_EQ(volume(report, "/dev/sda5").at("result"), "zeroed");
    EXPECT_EQ(read_host_file(cut_out(image, 5)).find_first_not_of('\0'), std::string::npos);
    EXPECT_EQ(contents(image, {"/dev/sda1"}), before);
    const std::string sum = sha256(image);
    EXPECT_TRUE(refused(sparsify({"-a", image, "--zero", "/dev/sda9"}), kFailed, "no device /dev/sda9"));
    EXPECT_TRUE(refused(sparsify({"-a", image, "--ignore", "nothing"}), kFailed, "nothing"));
    const std::string lvm = copy_of("lvm");
    EXPECT_TRUE(refused(sparsify({"-a", lvm, "--zero", "/dev/sda2"}), kFailed, "other volumes stand on it"));
    EXPECT_EQ(sha256(image), sum);
}

TEST_F(Sparsify, LeavesAloneWhatItMustNotTouch) {
    const std::string hibernated = copy_of("ntfs-hibernated");
    const json report = sparsify_ok({"-a", hibernated});
    EXPECT_EQ(report.at("volumes").at(0).at("result"), "skipped");
    EXPECT_THAT(report.at("volumes").at(0).at("reason").get<std::string>(), HasSubstr("hibernated"));

    // What a damaged file system says is free may not be.
    const std::string damaged = copy_of("ext4");
    const std::string blocks = debugfs(damaged, "blocks /numbers");
    ASSERT_TRUE(
        run({"/usr/sbin/debugfs", "-w", "-R", "freeb " + blocks.substr(0, blocks.find(' ')), damaged}).ok());
    ASSERT_FALSE(ext_is_clean(damaged));
    const std::string sum = sha256(damaged);
    EXPECT_TRUE(
        refused(sparsify({"-a", damaged}), kFailed, "has errors, so what it says is free may not be"));
    EXPECT_EQ(sha256(damaged), sum);

    // Zeros that are written to the image itself take room.
    const std::string udf = copy_of("udf");
    const uint64_t small = allocated(udf);
    const json direct = sparsify_ok({"-a", udf, "--write-mode=direct"});
    EXPECT_EQ(direct.at("volumes").at(0).at("result"), "skipped");
    EXPECT_LT(allocated(udf), small + 64 * 1024);  // a mount writes a little

    const std::string degraded = copy_of("md-degraded");
    EXPECT_EQ(volume(sparsify_ok({"-a", degraded}), "/dev/md0").at("result"), "skipped");
}

// Killed at any moment: the disk is sound, its files are as they were, and the next command finishes or
// discards what there was.
TEST_F(Sparsify, KilledAtAnyMoment) {
    const char* text = getenv("INSP_TEST_KILLS");
    const int kills = text ? atoi(text) : 4;
    const std::string original = copy_of("cloud", "original");
    make_garbage(original, {"/dev/sda1"}, 8);
    const std::string before = contents(original, {"/dev/sda1"});
    const uint64_t large = allocated(original);
    const std::string image = scratch() / "image";
    const Options options = environment(patient());
    const Args args = command({"sparsify", "-q", "-a", image});
    auto restore = [&] {
        ASSERT_TRUE(run({"cp", "--sparse=always", original, image}).ok());
        fs::remove(image + ".insp-journal");
    };
    restore();
    run(args, options);  // which makes the appliance's snapshot as well
    restore();
    const double seconds = run(args, options).seconds;
    EXPECT_LT(allocated(image), large - 7 * kMiB);
    std::mt19937_64 random(std::random_device{}());
    for (int i = 0; i < kills; ++i) {
        restore();
        // Every second time near the end, where the image is written.
        std::uniform_real_distribution<double> moment(i % 2 ? seconds * 0.8 : 0.0, seconds * 1.05);
        const double at = moment(random);
        Child child(args, options);
        usleep(static_cast<useconds_t>(at * 1e6));
        child.kill(SIGKILL);
        child.wait();
        EXPECT_THAT(strays(), ::testing::IsEmpty());
        const Outcome recovered = insp({"recover", image}, patient());
        EXPECT_TRUE(recovered.ok()) << recovered.describe();
        SCOPED_TRACE("killed after " + std::to_string(at) + " s: " + recovered.out);
        EXPECT_TRUE(ext_is_clean(cut_out(image, 1)));
        EXPECT_EQ(contents(image, {"/dev/sda1"}), before);
    }
}

}  // namespace
}  // namespace inspect::test
