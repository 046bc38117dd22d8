// SPDX-License-Identifier: GPL-2.0-or-later
//
// What insp resize refuses before the first write: disks that are not what they seem, and that lack
// something. Each image is afterwards what it was, byte for byte.
#include "resize/resize_command.h"

namespace inspect::test {
namespace {

using ::testing::HasSubstr;

class ResizeRefusals : public ResizeCommand {};

TEST_F(ResizeRefusals, GptWhoseCopiesDiffer) {
    const std::string image = copy_of("cloud"), other = copy_of("cloud", "other");
    ok({"sfdisk", "-q", "--part-label", other, "1", "another"});
    // The backup of the other one, valid in itself.
    const std::string tail = read_host_file(other);
    constexpr size_t kBackup = 33 * 512;
    std::string bytes = read_host_file(image);
    bytes.replace(bytes.size() - kBackup, kBackup, tail, tail.size() - kBackup, kBackup);
    write_host_file(image, bytes);
    expect_refused(image, {"--size", "+16M"}, "its two copies differ");
    expect_refused(image, {"--size", "-8M"}, "its two copies differ");
    // The first one is damaged.
    bytes.replace(512 + 16, 4, 4, 'x');
    write_host_file(image, bytes);
    expect_refused(image, {"--size", "+16M"}, "is damaged");
}

TEST_F(ResizeRefusals, HybridMbr) {
    if (!have_program("sgdisk")) GTEST_SKIP() << "gdisk is not installed";
    const std::string image = copy_of("cloud");
    ok({"sgdisk", "--hybrid", "1", image});
    expect_refused(image, {"--size", "+16M"}, "hybrid");
    expect_refused(image, {"--size", "-8M"}, "hybrid");
}

TEST_F(ResizeRefusals, LuksWithoutItsKey) {
    const std::string image = copy_of("luks");
    expect_refused(image, {"--size", "+16M"}, "--key");
    expect_refused(image, {"--size", "-1M"}, "--key");
    expect_refused(image, {"--size", "+16M", "--key", "all:key:wrong"}, "key");
}

TEST_F(ResizeRefusals, LogicalVolumesThatAreNotPlain) {
    const std::string image = copy_of("lvm-kinds");
    // It is striped, and has a snapshot.
    expect_refused(image, {"--LV-expand", "/dev/vg/striped"}, "or has snapshots");
    expect_refused(image, {"--resize", "/dev/vg/thin=-4M"}, "or has snapshots");
}

TEST_F(ResizeRefusals, PhysicalVolumeMissing) {
    const std::string one = scratch() / "one", two = scratch() / "two";
    for (const std::string& disk : {one, two}) {
        write_host_file(disk, "");
        std::filesystem::resize_file(disk, 32 * kMiB);
    }
    const Outcome made =
        insp({"run", "-q", "--rw", "--format=raw", "-a", one, "--format=raw", "-a", two, "--", "sh", "-ec",
              "lvm vgcreate -qq -s 1m vg /dev/sda /dev/sdb; lvm lvcreate -qq -Zn -Wn -L 40m -n both vg; "
              "lvm vgchange -qq -an vg"});
    ASSERT_TRUE(made.ok()) << made.describe();
    expect_refused(one, {"--size", "+16M"}, "is not complete");
    expect_refused(one, {"--size", "-4M"}, "is not complete");
    expect_refused(one, {"--resize", "/dev/vg/both=-4M"}, "is not complete");
    // A copy of one must not change the other.
    const std::string before = sha256(two);
    expect_refused(one, {"-a", two, "--output", scratch() / "new", "--size", "+16M"}, "which is only read");
    EXPECT_EQ(sha256(two), before);
    EXPECT_THAT(files(), ::testing::UnorderedElementsAre("one", "tmp", "two"));
    EXPECT_TRUE(resize({"-a", one, "-a", two, "--size", "+16M"}).ok());
    EXPECT_NE(sha256(two), before);
}

// It would wake up with other file systems than it knows.
TEST_F(ResizeRefusals, GuestThatHibernates) {
    const std::string image = copy_of("mbr-swap");
    std::string bytes = read_host_file(image);
    bytes.replace(bytes.find("SWAPSPACE2"), 10, std::string("S1SUSPEND\0", 10));
    write_host_file(image, bytes);
    expect_refused(image, {"--size", "+16M"}, "the guest hibernates");
    expect_refused(image, {"--resize", "/dev/sda1=8M"}, "the guest hibernates");
    const Outcome sparsified = insp({"sparsify", "-a", image});
    EXPECT_TRUE(refused(sparsified, kFailed, "the guest hibernates"));
    EXPECT_TRUE(read_host_file(image) == bytes);
}

TEST_F(ResizeRefusals, NoRoomOnTheHost) {
    const std::string image = copy_of("cloud");
    // The file must not become that large.
    expect_refused(image, {"--size", "+64M"}, "File too large", {.file_size_limit = 64 * kMiB});
}

}  // namespace
}  // namespace inspect::test
