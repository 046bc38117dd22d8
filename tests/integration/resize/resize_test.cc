// SPDX-License-Identifier: GPL-2.0-or-later
//
// insp resize: in place, and what is on the disk follows. sfdisk, e2fsck, xfs_repair and qemu-img are the
// judges.
#include <signal.h>
#include <unistd.h>

#include <cstdlib>
#include <iostream>
#include <random>

#include "resize/resize_command.h"

namespace inspect::test {
namespace {

using nlohmann::json;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

class Resize : public ResizeCommand {
  protected:
    static json table(const std::string& image) {
        const Outcome outcome = run({"sfdisk", "-J", image});
        EXPECT_TRUE(outcome.ok()) << outcome.describe();
        return json::parse(outcome.out).at("partitiontable");
    }
    static std::string dump_without_sizes(const std::string& image) {
        json all = table(image);
        for (json& partition : all.at("partitions")) partition.erase("size");
        all.erase("lastlba");
        return all.dump(1);
    }
    // INSP_TEST_KILLS: how often.
    void kill_and_look(const std::string& original, const Args& more, const std::string& wish) const;
    static uint64_t ext_blocks(const std::string& file_system) {
        const std::string stats = debugfs(file_system, "stats");
        return std::stoull(stats.substr(stats.find("Block count:") + 12));
    }
};

void Resize::kill_and_look(const std::string& original, const Args& more, const std::string& wish) const {
    const char* text = getenv("INSP_TEST_KILLS");
    const int kills = text ? atoi(text) : 4;
    const uint64_t size = size_of(original);
    const uint64_t wished = wish[0] == '+' ? size + std::stoull(wish.substr(1)) * kMiB
                                           : size - std::stoull(wish.substr(1)) * kMiB;
    const std::string image = scratch() / "image";
    const auto fresh = [&] {
        std::filesystem::copy_file(original, image, std::filesystem::copy_options::overwrite_existing);
    };
    const Options options = environment();
    Args words = {"resize", "-q", "-a", image, "--size", wish};
    words.insert(words.end(), more.begin(), more.end());
    const Args args = command(words);
    fresh();
    run(args, options);  // which makes the appliance's snapshot as well
    fresh();
    const double seconds = run(args, options).seconds;
    ASSERT_EQ(size_of(image), wished);
    std::mt19937_64 random(std::random_device{}());
    int became[2] = {};
    for (int i = 0; i < kills; ++i) {
        fresh();
        // Every second time near the end, where the image is written or the change completed.
        const double from = i % 2 ? 0.8 : 0.0;
        const double share = from + (1.05 - from) * static_cast<double>(random() % 1000) / 1000;
        Child child(args, options);
        usleep(static_cast<useconds_t>(seconds * share * 1e6));
        child.kill(SIGKILL);
        child.wait();
        EXPECT_THAT(strays(), ::testing::IsEmpty());
        insp_ok({"recover", image});
        EXPECT_THAT(size_of(image), ::testing::AnyOf(size, wished)) << "killed at " << share;
        EXPECT_FALSE(std::filesystem::exists(image + ".insp-journal"));
        EXPECT_THAT(run({"sfdisk", "-V", image}).out, HasSubstr("No errors detected"));
        const std::string root = cut_out(image, 1);
        EXPECT_TRUE(ext_is_clean(root));
        EXPECT_EQ(debugfs(root, "cat /hello.txt"), "hello, guest\n");
        // 10 MiB lie before it, and what behind it is no whole MiB.
        EXPECT_EQ(ext_blocks(root) * 1024, size_of(image) - 11 * kMiB);
        ++became[size_of(image) == wished];
    }
    std::cout << wish << ": of " << kills << " killed, " << became[0] << " are as before, " << became[1]
              << " are done\n";
}

// Ubuntu's layout: the root is the first by number and the last on the disk.
TEST_F(Resize, DiskGrowsAndShrinksAgain) {
    const std::string image = copy_of("cloud");
    const std::string rest = dump_without_sizes(image);
    const uint64_t size = size_of(image);

    const json plan = json::parse(resize_ok({"-a", image, "--size", "+32M", "--dry-run", "--json"}));
    EXPECT_EQ(size_of(image), size);
    EXPECT_EQ(plan.at("after").at("size_bytes"), size + 32 * kMiB);
    EXPECT_EQ(plan.at("steps").front().at("kind"), "image");

    EXPECT_THAT(resize_ok({"-a", image, "--size", "+32M"}), HasSubstr("the image grows"));
    EXPECT_EQ(size_of(image), size + 32 * kMiB);
    EXPECT_EQ(dump_without_sizes(image), rest);
    EXPECT_THAT(run({"sfdisk", "-V", image}).out, HasSubstr("No errors detected"));
    const std::string root = cut_out(image, 1);
    EXPECT_EQ(size_of(root), 69 * kMiB);
    EXPECT_EQ(ext_blocks(root), 69 * 1024u);
    EXPECT_TRUE(ext_is_clean(root));

    resize_ok({"-a", image, "--size", "24M"});
    EXPECT_EQ(size_of(image), 24 * kMiB);
    EXPECT_EQ(dump_without_sizes(image), rest);
    EXPECT_THAT(run({"sfdisk", "-V", image}).out, HasSubstr("No errors detected"));
    const std::string small = cut_out(image, 1);
    EXPECT_EQ(ext_blocks(small), 13 * 1024u);
    EXPECT_TRUE(ext_is_clean(small));
    EXPECT_EQ(debugfs(small, "cat /hello.txt"), "hello, guest\n");
}

TEST_F(Resize, LogicalPartitionsAndSwapSpace) {
    const std::string image = copy_of("mbr-swap");
    const std::string rest = dump_without_sizes(image);
    resize_ok({"-a", image, "--size", "+16M", "--expand", "/dev/sda6", "--resize", "/dev/sda5=12M"});
    EXPECT_EQ(dump_without_sizes(image), rest);
    EXPECT_THAT(run({"sfdisk", "-V", image}).out, HasSubstr("No errors detected"));
    const json partitions = table(image).at("partitions");
    EXPECT_EQ(partitions.at(1).at("size"), 46 * 2048);
    EXPECT_EQ(partitions.at(2).at("size"), 12 * 2048);
    EXPECT_EQ(partitions.at(3).at("size"), 28 * 2048);
    const std::string swap = run({"blkid", "-p", cut_out(image, 6)}).out;
    EXPECT_THAT(swap, AllOf(HasSubstr("UUID=\"00000076-0076-4076-8076-000000000076\""), HasSubstr("swappy")));
    EXPECT_TRUE(ext_is_clean(cut_out(image, 5)));
    // One goes, the other takes its place.
    EXPECT_TRUE(refused(resize({"-a", image, "--delete", "/dev/sda5"}), kFailed, "other numbers"));
}

TEST_F(Resize, WholeDiskFileSystems) {
    const std::string ext4 = copy_of("ext4");
    const std::string xfs = copy_of("xfs");
    const uint64_t size = size_of(ext4);
    const uint64_t blocks = ext_blocks(ext4);
    resize_ok({"-a", ext4, "--size", "+8M"});
    EXPECT_EQ(size_of(ext4), size + 8 * kMiB);
    EXPECT_GT(ext_blocks(ext4), blocks);
    EXPECT_TRUE(ext_is_clean(ext4));
    EXPECT_EQ(debugfs(ext4, "cat /hello.txt"), "hello, guest\n");
    resize_ok({"-a", ext4, "--size", "-8M"});
    EXPECT_EQ(size_of(ext4), size);
    EXPECT_EQ(ext_blocks(ext4), blocks);
    EXPECT_TRUE(ext_is_clean(ext4));

    const std::string small = sha256(ext4);
    const Outcome refusal = resize({"-a", ext4, "--size", "100K"});
    EXPECT_TRUE(refused(refusal, kFailed, "can't be made smaller than"));
    EXPECT_EQ(sha256(ext4), small);

    resize_ok({"-a", xfs, "--size", "+16M"});
    EXPECT_TRUE(xfs_is_clean(xfs));
    EXPECT_TRUE(refused(resize({"-a", xfs, "--size", "-16M"}), kFailed, "XFS"));
}

TEST_F(Resize, Qcow2KeepsItsSnapshotsAndContents) {
    if (!have_program("qemu-img")) GTEST_SKIP() << "qemu-img is not installed";
    const std::string image = scratch() / "image.qcow2";
    ASSERT_TRUE(run({"qemu-img", "convert", "-O", "qcow2", copy_of("ext4"), image}).ok());
    ASSERT_TRUE(run({"qemu-img", "snapshot", "-c", "before", image}).ok());
    resize_ok({"-a", image, "--size", "+1G"});
    EXPECT_TRUE(run({"qemu-img", "check", image}).ok());
    const json info = json::parse(run({"qemu-img", "info", "--output=json", image}).out);
    const std::string raw = scratch() / "raw";
    ASSERT_TRUE(run({"qemu-img", "convert", "-O", "raw", image, raw}).ok());
    EXPECT_EQ(info.at("virtual-size"), size_of(raw));
    EXPECT_EQ(info.at("snapshots").size(), 1u);
    EXPECT_TRUE(ext_is_clean(raw));
    EXPECT_EQ(ext_blocks(raw) * 1024, size_of(raw));
}

// A physical volume with root and swap space in it, as Debian's installer makes it. The judges are LVM's own
// tools and e2fsck, in an appliance of their own.
TEST_F(Resize, LogicalVolumeFollowsItsGroup) {
    const std::string image = scratch() / "lvm.img";
    write_host_file(image, "");
    std::filesystem::resize_file(image, 64 * kMiB);
    write_host_file(scratch() / "table",
                    "label: gpt\nstart=1MiB, size=62MiB, type=E6D6D379-F507-44C2-A23C-238F2A3DF928\n");
    ASSERT_TRUE(run({"sh", "-c", "sfdisk -q " + image + " <" + (scratch() / "table").string()}).ok());
    auto in_appliance = [&](const std::string& commands) {
        const Outcome outcome =
            insp({"run", "-q", "-a", image, "--rw", "--", "sh", "-c", "set -e; " + commands});
        EXPECT_TRUE(outcome.ok()) << outcome.describe();
        return outcome.out;
    };
    in_appliance(
        "lvm pvcreate -q -y /dev/sda1; lvm vgcreate -q -s 1M vg /dev/sda1; lvm lvcreate -q -y -Zn -Wn -l 24 "
        "-n root vg; "
        "lvm lvcreate -q -y -Zn -Wn -l 8 -n swap_1 vg; lvm vgchange -q -ay vg; mke2fs -q -t ext4 "
        "/dev/mapper/vg-root; "
        "mkswap -q /dev/mapper/vg-swap_1");
    auto look = [&] {
        return in_appliance(
            "lvm vgchange -q -ay vg >/dev/null; e2fsck -fn /dev/mapper/vg-root >/dev/null 2>&1; lvm vgck vg; "
            "lvm lvs --noheadings --nosuffix --units m -o lv_name,lv_size vg; "
            "dumpe2fs -h /dev/mapper/vg-root 2>/dev/null | grep '^Block count'");
    };
    EXPECT_THAT(look(), AllOf(HasSubstr("root   24.00"), HasSubstr("swap_1  8.00")));

    const Outcome grown = insp({"resize", "-a", image, "--size", "+32M"});
    EXPECT_TRUE(grown.ok()) << grown.describe();
    EXPECT_THAT(grown.out, HasSubstr("/dev/vg/root grows from 24.0 MiB to 56.0 MiB"));
    EXPECT_THAT(look(), AllOf(HasSubstr("root   56.00"), HasSubstr("swap_1  8.00")));

    // What lies behind the swap space is given back, but for a part.
    const Outcome shrunk = insp({"resize", "-a", image, "--size", "-50M"});
    EXPECT_TRUE(shrunk.ok()) << shrunk.describe();
    EXPECT_EQ(size_of(image), 46 * kMiB);
    EXPECT_THAT(look(), AllOf(HasSubstr("root   35.00"), HasSubstr("swap_1  8.00")));
    EXPECT_THAT(run({"sfdisk", "-V", image}).out, HasSubstr("No errors detected"));

    // What lies at the end moves to where the root was.
    const Outcome moved = insp({"resize", "-a", image, "--size", "30M"});
    EXPECT_TRUE(moved.ok()) << moved.describe();
    EXPECT_THAT(moved.out, HasSubstr("at the end of the physical volume /dev/sda1 move"));
    EXPECT_EQ(size_of(image), 30 * kMiB);
    EXPECT_THAT(look(), AllOf(HasSubstr("root   19.00"), HasSubstr("swap_1  8.00")));
    EXPECT_THAT(in_appliance("blkid -p /dev/mapper/vg-swap_1"), HasSubstr("swap"));
    EXPECT_THAT(run({"sfdisk", "-V", image}).out, HasSubstr("No errors detected"));

    const Outcome impossible = insp({"resize", "-a", image, "--size", "8M"});
    EXPECT_TRUE(refused(impossible, kFailed, "can't be made smaller than"));
}

TEST_F(Resize, LeavesTheImageAndResizesACopy) {
    const std::string image = copy_of("cloud"), other = copy_of("ext4", "other");
    const std::string copy = scratch() / "copy";
    const std::string before = sha256(image), other_before = sha256(other);
    const Args args = {"-a", image, "-a", other, "--output", copy, "--size", "+16M"};
    resize_ok(args);
    EXPECT_EQ(sha256(image), before);
    EXPECT_EQ(sha256(other), other_before);
    EXPECT_EQ(size_of(copy), size_of(image) + 16 * kMiB);
    EXPECT_THAT(run({"sfdisk", "-V", copy}).out, HasSubstr("No errors detected"));
    const std::string root = cut_out(copy, 1);
    EXPECT_TRUE(ext_is_clean(root));
    EXPECT_EQ(ext_blocks(root) * 1024, size_of(copy) - 11 * kMiB);

    const std::string done = sha256(copy);
    EXPECT_TRUE(refused(resize(args), kFailed, "'" + copy + "' is there already"));
    EXPECT_EQ(sha256(copy), done);
    std::filesystem::remove(copy);
    const std::vector<std::string> names = files();
    EXPECT_TRUE(
        refused(resize({"-a", image, "--output", copy, "--size", "12M"}), kFailed, "can't be made smaller"));
    EXPECT_THAT(files(), ::testing::UnorderedElementsAreArray(names));
    // Ctrl-C, at some moment.
    for (const int milliseconds : {5, 50, 200}) {
        Args words = args;
        words.insert(words.begin(), "resize");
        Child child(command(words), environment());
        usleep(static_cast<useconds_t>(milliseconds) * 1000);
        child.kill(SIGINT);
        child.wait();
        std::filesystem::remove(copy);  // if it was done already
        EXPECT_THAT(files(), ::testing::UnorderedElementsAreArray(names)) << milliseconds;
        EXPECT_EQ(sha256(image), before);
    }
}

// A size that the image has already, because another program made it larger: what is on it follows, once.
TEST_F(Resize, DiskThatWasMadeLargerByOtherMeans) {
    for (const char* mode : {"--write-mode=atomic", "--write-mode=direct"}) {
        const std::string image = copy_of("cloud", mode + 2);
        const uint64_t size = size_of(image) + 32 * kMiB;
        std::filesystem::resize_file(image, size);
        const Args args = {"-a", image, "--size", std::to_string(size / kMiB) + "M", mode};
        resize_ok(args);
        EXPECT_EQ(size_of(image), size);
        const std::string root = cut_out(image, 1);
        EXPECT_EQ(ext_blocks(root) * 1024, size - 11 * kMiB);
        EXPECT_TRUE(ext_is_clean(root));
        EXPECT_EQ(debugfs(root, "cat /hello.txt"), "hello, guest\n");
        EXPECT_THAT(resize_ok(args), HasSubstr("everything has the size that it is to have"));
    }
}

// Killed at any moment, the disk is as it was or as it is to be, its size included.
TEST_F(Resize, KilledAtAnyMoment) {
    const std::string original = copy_of("cloud", "original");
    kill_and_look(original, {"--write-mode=atomic"}, "+32M");
    kill_and_look(original, {"--write-mode=atomic"}, "-16M");
}

// The same where the image itself is written: who opens it next puts back what it had.
TEST_F(Resize, KilledAtAnyMomentWhenItWritesDirectly) {
    const std::string original = copy_of("cloud", "original");
    kill_and_look(original, {"--write-mode=direct"}, "+32M");
    kill_and_look(original, {"--write-mode=direct"}, "-16M");
}

// Data moves to what was free, and had other data once.
TEST_F(Resize, MovesDataDirectly) {
    const std::string image = copy_of("cloud");
    std::mt19937 random(1);
    std::string bytes(9 * kMiB, '\0');
    for (char& byte : bytes) byte = static_cast<char>(random());
    for (const char* name : {"old", "data"}) {
        write_host_file(scratch() / name, bytes);
        insp_ok({"copy-in", "-a", image, "-m", "/dev/sda1", scratch() / name, "/"});
    }
    insp_ok({"rm", "-a", image, "-m", "/dev/sda1", "/old"});
    const uint64_t size = size_of(image);
    resize_ok({"-a", image, "--size", "-16M", "--write-mode=direct"});
    EXPECT_EQ(size_of(image), size - 16 * kMiB);
    EXPECT_FALSE(std::filesystem::exists(image + ".insp-journal"));
    const std::string root = cut_out(image, 1);
    EXPECT_TRUE(ext_is_clean(root));
    EXPECT_TRUE(debugfs(root, "cat /data") == bytes);
    EXPECT_EQ(debugfs(root, "cat /hello.txt"), "hello, guest\n");
    EXPECT_THAT(run({"sfdisk", "-V", image}).out, HasSubstr("No errors detected"));
}

TEST_F(Resize, WritesQcow2Directly) {
    if (!have_program("qemu-img")) GTEST_SKIP() << "qemu-img is not installed";
    const std::string image = scratch() / "image.qcow2";
    ASSERT_TRUE(run({"qemu-img", "convert", "-O", "qcow2", copy_of("cloud"), image}).ok());
    for (const char* size : {"+64M", "-70M"}) {
        resize_ok({"-a", image, "--write-mode=direct", "--size", size});
        EXPECT_TRUE(run({"qemu-img", "check", image}).ok());
        EXPECT_FALSE(std::filesystem::exists(image + ".insp-journal"));
        const std::string raw = scratch() / "raw";
        ASSERT_TRUE(run({"qemu-img", "convert", "-O", "raw", image, raw}).ok());
        EXPECT_THAT(run({"sfdisk", "-V", raw}).out, HasSubstr("No errors detected"));
        const std::string root = cut_out(raw, 1);
        EXPECT_TRUE(ext_is_clean(root));
        EXPECT_EQ(ext_blocks(root) * 1024, size_of(raw) - 11 * kMiB);
    }
    // What can't be planned is not begun.
    const std::string before = sha256(image);
    const auto touched = std::filesystem::last_write_time(image);
    EXPECT_TRUE(refused(resize({"-a", image, "--write-mode=direct", "--size", "12M"}), kFailed,
                        "can't be made smaller"));
    EXPECT_EQ(sha256(image), before);
    EXPECT_EQ(std::filesystem::last_write_time(image), touched);
}

TEST_F(Resize, WhatMakesNoSenseIsRefusedAndChangesNothing) {
    const std::string image = copy_of("cloud");
    const std::string before = sha256(image);
    for (const char* size : {"12Q", "-", "0", "+0", ""}) {
        EXPECT_EQ(resize({"-a", image, "--size", size}).code, kUsage) << size;
        EXPECT_EQ(resize({"-a", image, std::string("--resize=/dev/sda1=") + size}).code, kUsage) << size;
    }
    EXPECT_TRUE(refused(resize({"-a", image, "--size", "-99T"}), kFailed, "nothing would be left"));
    EXPECT_TRUE(
        refused(resize({"-a", image, "--LV-expand", "/dev/vg/root"}), kFailed, "there is no '/dev/vg/root'"));
    EXPECT_TRUE(
        refused(resize({"-a", image, "--expand", "/dev/sda77"}), kFailed, "there is no '/dev/sda77'"));
    EXPECT_TRUE(refused(resize({"-a", image, "--expand", "/dev/sda15"}), kFailed, "there is no room behind"));
    EXPECT_TRUE(refused(resize({"-a", image, "--size", "1M"}), kFailed, "/dev/sda"));
    EXPECT_TRUE(refused(resize({"-a", image, "--write-mode=direct", "--size", "12M"}), kFailed, "/dev/sda"));
    EXPECT_EQ(sha256(image), before);
}

}  // namespace
}  // namespace inspect::test
