// SPDX-License-Identifier: GPL-2.0-or-later
//
// insp resize on what is not ext4 on GPT with sectors of 512 bytes. The judges are each file system's own
// checkers, on the host.
#include <cstring>

#include "resize/resize_command.h"

namespace inspect::test {
namespace {

using nlohmann::json;
using ::testing::AllOf;
using ::testing::AnyOf;
using ::testing::HasSubstr;

class ResizeKinds : public ResizeCommand {};

TEST_F(ResizeKinds, Btrfs) {
    const std::string image = copy_of("btrfs");
    auto check = [&](uint64_t size) {
        EXPECT_THAT(ok({"sfdisk", "-V", image}), HasSubstr("No errors detected"));
        const std::string system = cut_out(image, 1);
        EXPECT_EQ(size_of(system), size);
        ok({"btrfs", "check", system});
        EXPECT_THAT(ok({"btrfs", "inspect-internal", "dump-super", system}),
                    AllOf(HasSubstr("dev_item.total_bytes\t" + std::to_string(size)),
                          HasSubstr("00000071-0071-4071-8071-000000000071")));
        ok({"btrfs", "restore", "--path-regex", "^/(|@home(|/alice(|/notes.txt)))$", system,
            scratch() / "cut"});
        EXPECT_EQ(read_host_file(scratch() / "cut/@home/alice/notes.txt"), "notes\n");
        std::filesystem::remove_all(scratch() / "cut");
    };
    resize_ok({"-a", image, "--size", "402M"});
    check(400 * kMiB);
    resize_ok({"-a", image, "--size", "302M"});
    check(300 * kMiB);
    expect_refused(image, {"--size", "200M"}, "256.0 MiB");
}

TEST_F(ResizeKinds, Ntfs) {
    if (!have_program("ntfsresize")) GTEST_SKIP() << "ntfs-3g is not installed";
    const std::string image = copy_of("ntfs");
    auto check = [&](uint64_t size) {
        EXPECT_EQ(size_of(image), size);
        EXPECT_THAT(ok({"ntfsresize", "--info", "--force", image}),
                    HasSubstr("Current volume size: " + std::to_string(size - (size - 512) % 4096)));
        EXPECT_THAT(ok({"ntfscat", "--force", image, "hello.txt"}), HasSubstr("hello, guest\n"));
        EXPECT_THAT(ok({"ntfsinfo", "--force", "-m", image}), HasSubstr("Volume Name: ntfslabel"));
    };
    resize_ok({"-a", image, "--size", "+16M"});
    check(32 * kMiB);
    // Windows is to check it first.
    expect_refused(image, {"--size", "-8M"}, "--ntfsresize-force");
    resize_ok({"-a", image, "--size", "-8M", "--ntfsresize-force"});
    check(24 * kMiB);
    expect_refused(image, {"--size", "2M", "--ntfsresize-force"}, "can't be made smaller than");
}

// What Windows' installer leaves behind the system is an NTFS, too.
TEST_F(ResizeKinds, NtfsBeforeADeletedOne) {
    if (!have_program("ntfsresize")) GTEST_SKIP() << "ntfs-3g is not installed";
    const std::string image = scratch() / "disk", ntfs = guest("ntfs");
    write_host_file(image, "");
    std::filesystem::resize_file(image, 34 * kMiB);
    ok({"sh", "-c",
        "echo 'label: gpt\nstart=1MiB, size=16MiB\nstart=17MiB, size=16MiB' | sfdisk -q " + image});
    for (const char* at : {"seek=1", "seek=17"})
        ok({"dd", "if=" + ntfs, "of=" + image, "bs=1M", at, "conv=notrunc", "status=none"});
    resize_ok({"-a", image, "--delete", "/dev/sda2", "--expand", "/dev/sda1"});
    EXPECT_THAT(ok({"sfdisk", "-V", image}), HasSubstr("No errors detected"));
    const std::string system = cut_out(image, 1);
    EXPECT_GE(size_of(system), 32 * kMiB);
    EXPECT_THAT(ok({"ntfsresize", "--info", "--force", system}),
                HasSubstr("Current volume size: " +
                          std::to_string(size_of(system) - (size_of(system) - 512) % 4096)));
    EXPECT_THAT(ok({"ntfscat", "--force", system, "hello.txt"}), HasSubstr("hello, guest\n"));
}

TEST_F(ResizeKinds, NtfsThatIsFull) {
    if (!have_program("ntfsresize")) GTEST_SKIP() << "ntfs-3g is not installed";
    const std::string image = copy_of("ntfs");
    ok({"sh", "-c", R"(
        for clusters in 2048 1024 512 256 128 64 32 16 8 4 2 1 1 1; do
            for i in 1 2; do
                head -c $((clusters * 4096)) /dev/zero >"$2"
                ntfscp -f -q "$1" "$2" "fill-$clusters-$i" >/dev/null 2>&1
            done
        done; true)",
        "sh", image, scratch() / "fill"});
    EXPECT_THAT(run({"ntfsresize", "--info", image}).out, HasSubstr("Volume is full"));
    expect_refused(image, {"--size", "-4M"}, "can't be made smaller than");
    resize_ok({"-a", image, "--size", "+16M"});
    EXPECT_THAT(ok({"ntfsresize", "--info", "--force", image}), HasSubstr("Current volume size: 3355"));
}

// The header of the encrypted volume is on the logical one, not where the disk begins.
TEST_F(ResizeKinds, LuksOnALogicalVolume) {
    const std::string image = copy_of("luks-on-lvm");
    resize_ok({"-a", image, "--resize", "/dev/fedora/root=9M", "--key", "all:key:guest-key"});
    const Outcome read = insp({"run", "-q", "-a", image, "--key", "all:key:guest-key", "--", "sh", "-ec",
                               "blockdev --getsize64 /dev/fedora/root; e2fsck -fn /dev/mapper/luks-*"});
    EXPECT_TRUE(read.ok()) << read.describe();
    EXPECT_THAT(read.out, HasSubstr("9437184\n"));
}

// It is said before anything is read, let alone written.
TEST_F(ResizeKinds, XfsThatCannotBeMadeAnew) {
    const std::string image = scratch() / "disk";
    write_host_file(image, "");
    std::filesystem::resize_file(image, 342 * kMiB);
    ok({"mkfs.xfs", "-q", image});
    ok({"xfs_db", "-x", "-c", "sb 0", "-c", "write qflags 1", image});
    expect_refused(image, {"--size", "322M", "--recreate", "--dry-run"}, "it has quotas");
    expect_refused(image, {"--size", "322M", "--recreate"}, "it has quotas");
}

TEST_F(ResizeKinds, WindowsThatDidNotShutDown) {
    const std::string hibernated = copy_of("ntfs-hibernated"), dirty = copy_of("ntfs-dirty");
    for (const char* size : {"+16M", "-1M"}) {
        expect_refused(hibernated, {"--size", size}, "hibernates");
        expect_refused(dirty, {"--size", size}, "marked to be checked");
    }
    // The disk alone is none of its business.
    resize_ok({"-a", hibernated, "--size", "+16M", "--no-follow"});
    EXPECT_EQ(size_of(hibernated), 32 * kMiB);
}

TEST_F(ResizeKinds, XfsInAPartition) {
    const std::string image = scratch() / "disk";
    const std::string xfs = guest("xfs");
    write_host_file(image, "");
    std::filesystem::resize_file(image, size_of(xfs) + 2 * kMiB);
    ok({"sh", "-c", "echo 'label: dos\n1 : start=1MiB, type=83' | sfdisk -q " + image});
    ok({"dd", "if=" + xfs, "of=" + image, "bs=1M", "seek=1", "conv=notrunc", "status=none"});
    for (int i = 0; i < 2; ++i) resize_ok({"-a", image, "--size", "+16M"});
    const std::string system = cut_out(image, 1);
    EXPECT_EQ(size_of(system), size_of(xfs) + 33 * kMiB);
    EXPECT_TRUE(xfs_is_clean(system));
    EXPECT_THAT(ok({"xfs_db", "-r", "-c", "sb 0", "-c", "p dblocks", system}),
                HasSubstr("dblocks = " + std::to_string(size_of(system) / 4096)));
}

TEST_F(ResizeKinds, SectorsOf4096Bytes) {
    if (!have_program("fdisk")) GTEST_SKIP() << "fdisk is not installed";
    const std::string image = copy_of("gpt-4k");
    const uint64_t size = size_of(image);
    auto table = [&] { return ok({"fdisk", "-b", "4096", "-o", "Device,Start,Sectors,UUID", "-l", image}); };
    EXPECT_THAT(table(), HasSubstr("00000041-0041-4041-8041-000000000041"));
    auto with_sectors = [&](Args args) {
        args.insert(args.begin(), {"--blocksize=4096", "-a", image});
        return args;
    };
    resize_ok(with_sectors({"--size", "+16M"}));
    EXPECT_EQ(size_of(image), size + 16 * kMiB);
    const std::string esp = cut_out(image, 2, 4096);
    EXPECT_GE(size_of(esp), 48 * kMiB);
    // What fsck.fat says of the space is the file system's, not the partition's.
    EXPECT_THAT(ok({"fsck.fat", "-n", "-v", esp}),
                HasSubstr(std::to_string(size_of(esp) / 4096) + " sectors total"));
    resize_ok(with_sectors({"--delete", "/dev/sda2", "--expand", "/dev/sda1"}));
    EXPECT_THAT(table(), HasSubstr("00000041-0041-4041-8041-000000000041"));
    const std::string root = cut_out(image, 1, 4096);
    EXPECT_GT(size_of(root), size - 4 * kMiB);
    EXPECT_TRUE(ext_is_clean(root));
    EXPECT_THAT(debugfs(root, "stats"),
                HasSubstr("Block count:              " + std::to_string(size_of(root) / 4096)));
    resize_ok(with_sectors({"--size", "-32M"}));
    EXPECT_TRUE(ext_is_clean(cut_out(image, 1, 4096)));
    EXPECT_THAT(run({"sgdisk", "-v", image}).out, HasSubstr("No problems found"));
}

// A block device has the size that it has: made larger by its own means, the disk on it follows.
TEST_F(ResizeKinds, BlockDevice) {
    const std::string image = copy_of("cloud");
    const uint64_t size = size_of(image);
    std::filesystem::resize_file(image, size + 32 * kMiB);
    const Outcome attached = run({"losetup", "--find", "--show", image});
    if (!attached.ok()) GTEST_SKIP() << "no loop device can be had here: " << attached.err;
    const std::string device = attached.out.substr(0, attached.out.find('\n'));
    EXPECT_TRUE(refused(resize({"-a", device, "--size", "+1M"}), kFailed, "by its own means"));
    const Outcome grown = resize({"-a", device, "--expand", "/dev/sda1"});
    EXPECT_TRUE(grown.ok()) << grown.describe();
    ok({"losetup", "--detach", device});
    EXPECT_THAT(ok({"sfdisk", "-V", image}), HasSubstr("No errors detected"));
    const std::string root = cut_out(image, 1);
    EXPECT_EQ(size_of(root), size - 11 * kMiB + 32 * kMiB);
    EXPECT_TRUE(ext_is_clean(root));
    EXPECT_EQ(debugfs(root, "cat /hello.txt"), "hello, guest\n");
}

// LUKS in a partition whose file system doesn't fill it. The judges are cryptsetup and e2fsck, in an
// appliance of their own.
TEST_F(ResizeKinds, LuksInAPartition) {
    const std::string image = copy_of("luks");
    auto check = [&] {
        EXPECT_THAT(ok({"sfdisk", "-V", image}), HasSubstr("No errors detected"));
        const Outcome outcome =
            insp({"run", "-q", "--format=raw", "-a", image, "--", "sh", "-ec",
                  "printf guest-key | cryptsetup open --readonly --key-file=- /dev/sda2 c\n"
                  "e2fsck -fn /dev/mapper/c >/dev/null\n"
                  "mount -o ro /dev/mapper/c /sysroot; test -e /sysroot/etc/fstab; umount /sysroot\n"
                  "size=$(blockdev --getsize64 /dev/mapper/c)\n"
                  "dumpe2fs -h /dev/mapper/c 2>/dev/null | grep '^Block count: *'$((size / 4096 * 4))'$'"});
        EXPECT_TRUE(outcome.ok()) << outcome.describe();
    };
    auto with_key = [&](Args args) {
        args.insert(args.begin(), {"-a", image, "--key", "all:key:guest-key"});
        return args;
    };
    resize_ok(with_key({"--expand", "/dev/sda2"}));
    check();
    EXPECT_TRUE(
        refused(resize(with_key({"--expand", "/dev/sda2"})), kFailed, "there is no room behind /dev/sda2"));
    resize_ok(with_key({"--size", "+8M"}));
    check();
    resize_ok(with_key({"--size", "-6M"}));
    check();
}

// LUKS without a partition table. The judge is QEMU's driver, and e2fsck.
TEST_F(ResizeKinds, LuksOnTheWholeDisk) {
    if (!have_program("qemu-img")) GTEST_SKIP() << "qemu-img is not installed";
    const std::string image = scratch() / "disk";
    write_host_file(image, "");
    std::filesystem::resize_file(image, 16 * kMiB);
    const Outcome made =
        insp({"run", "-q", "--rw", "--format=raw", "-a", image, "--", "sh", "-ec",
              "printf guest-key | cryptsetup -q luksFormat --type luks1 --pbkdf-force-iterations 1000 "
              "--key-file=- /dev/sda\n"
              "printf guest-key | cryptsetup open --key-file=- /dev/sda c\n"
              "mke2fs -q -t ext4 -J size=1 /dev/mapper/c\n"
              "mount /dev/mapper/c /sysroot; echo hello >/sysroot/hello.txt; umount /sysroot\n"
              "cryptsetup close c"});
    ASSERT_TRUE(made.ok()) << made.describe();
    auto check = [&](uint64_t size) {
        EXPECT_EQ(size_of(image), size);
        const std::string plain = scratch() / "plain";
        ok({"qemu-img", "convert", "--object", "secret,id=key,data=guest-key", "--image-opts",
            "driver=luks,key-secret=key,file.filename=" + image, "-O", "raw", plain});
        EXPECT_TRUE(ext_is_clean(plain));
        EXPECT_THAT(debugfs(plain, "stats"),
                    HasSubstr("Block count:              " + std::to_string(size_of(plain) / 1024) + "\n"));
        EXPECT_EQ(debugfs(plain, "cat /hello.txt"), "hello\n");
    };
    const Args key = {"-a", image, "--key", "all:key:guest-key", "--size"};
    auto to_size = [&](const std::string& size) {
        Args args = key;
        args.push_back(size);
        return args;
    };
    resize_ok(to_size("+16M"));
    check(32 * kMiB);
    resize_ok(to_size("-8M"));
    check(24 * kMiB);
    std::filesystem::resize_file(image, 40 * kMiB);
    resize_ok(to_size("40M"));
    check(40 * kMiB);
    expect_refused(image, {"--size", "-8M", "--no-follow"}, "reaches beyond the image's new size");
}

// The header of swap space says how large it is, and the kernel takes none whose device is smaller.
TEST_F(ResizeKinds, SwapSpaceThatShrinks) {
    const std::string image = copy_of("mbr-swap");
    resize_ok({"-a", image, "--resize", "/dev/sda6=8M"});
    const std::string swap = cut_out(image, 6);
    EXPECT_EQ(size_of(swap), 8 * kMiB);
    const std::string header = read_host_file(swap).substr(0, 4096);
    EXPECT_EQ(header.substr(4086), "SWAPSPACE2");
    uint32_t last_page = 0;
    std::memcpy(&last_page, header.data() + 1028, sizeof last_page);
    EXPECT_EQ(last_page, 8 * kMiB / 4096 - 1);
    EXPECT_THAT(ok({"blkid", "-p", swap}), HasSubstr("swappy"));
}

// XFS made anew: what is in it comes back with all that XFS keeps of a file.
TEST_F(ResizeKinds, XfsMadeAnew) {
    const std::string image = scratch() / "disk";
    write_host_file(image, "");
    std::filesystem::resize_file(image, 342 * kMiB);
    ok({"sh", "-c", "echo 'label: gpt\nstart=1MiB, size=340MiB' | sfdisk -q " + image});
    const Outcome made = insp({"run", "-q", "--rw", "--format=raw", "-a", image, "--", "sh", "-ec", R"(
        mkfs.xfs -q -m uuid=00000090-0090-4090-8090-000000000090,bigtime=0 -L keepme /dev/sda1
        mount /dev/sda1 /sysroot
        cd /sysroot
        mkdir -m 2751 dir
        echo hello >dir/file
        ln dir/file hard
        ln -s dir/file soft
        mknod null c 1 3
        mkfifo -m 600 fifo
        truncate -s 50M sparse
        printf end >>sparse
        chown 1000:1001 dir/file
        chmod 4755 dir/file
        dd if=/dev/urandom of=data bs=1M count=5 2>/dev/null
        touch -d '2001-02-03 04:05:06' dir/file dir data sparse
        chattr +i data 2>/dev/null || true
        cd /
        umount /sysroot)"});
    ASSERT_TRUE(made.ok()) << made.describe();
    ASSERT_TRUE(insp({"run", "-q", "--rw", "-a", image, "-m", "/dev/sda1", "--", "perl", "-e", R"(
        require 'syscall.ph' if 0;
        sub set { syscall(188, my $p = "/sysroot/$_[0]", my $n = $_[1], my $v = $_[2], length $_[2], 0) == 0 or die "$_[1]: $!" }
        set('dir/file', 'user.colour', 'blue');
        set('dir/file', 'trusted.t', 'x');
        set('dir', 'system.posix_acl_access', pack('L<(S<S<L<)5', 2, 1,7,0xffffffff, 2,6,1234, 4,5,0xffffffff, 16,7,0xffffffff, 32,1,0xffffffff));
        )"})
                    .ok());
    // All that there is to be seen of the files but inode numbers, times of change, and the times of symbolic
    // links and of the root, which xfsrestore does not set.
    const Args look = {"run", "-q", "-a", image, "-m", "/dev/sda1:/:ro", "--", "sh", "-c", R"(
        cd /sysroot; find . | sort | xargs stat -c '%n %F %a %u %g %h %s %t %T'
        stat -c '%n %Y' dir dir/file data sparse null fifo
        stat -c %b sparse; sha256sum data dir/file sparse; readlink soft
        [ $(stat -c %i hard) = $(stat -c %i dir/file) ] && echo linked
        perl -e 'for (["dir/file", "user.colour"], ["dir/file", "trusted.t"], ["dir", "system.posix_acl_access"]) {
            my ($v, $p, $n) = ("\0" x 100, "/sysroot/$_->[0]", $_->[1]); my $l = syscall(191, $p, $n, $v, 100);
            print "$n ", unpack("H*", substr($v, 0, $l < 0 ? 0 : $l)), "\n" }')"};
    const Outcome before = insp(look);
    ASSERT_TRUE(before.ok()) << before.describe();
    EXPECT_THAT(before.out, AllOf(HasSubstr("linked"), HasSubstr("user.colour 626c7565"),
                                  HasSubstr("./null character special file")));
    const std::string features = "p uuid fname features_ro_compat features_incompat versionnum";
    const std::string old = ok({"xfs_db", "-r", "-c", "sb 0", "-c", features, cut_out(image, 1)});

    EXPECT_TRUE(refused(resize({"-a", image, "--size", "-20M"}), kFailed, "--recreate"));
    EXPECT_TRUE(refused(resize({"-a", image, "--size", "200M", "--recreate"}), kFailed,
                        "can't be made smaller than"));
    resize_ok({"-a", image, "--size", "322M", "--recreate"});
    EXPECT_EQ(size_of(image), 322 * kMiB);
    EXPECT_THAT(ok({"sfdisk", "-V", image}), HasSubstr("No errors detected"));
    const std::string system = cut_out(image, 1);
    EXPECT_TRUE(xfs_is_clean(system));
    EXPECT_EQ(ok({"xfs_db", "-r", "-c", "sb 0", "-c", features, system}), old);
    EXPECT_EQ(insp(look).out, before.out);

    // In a qcow2 image whose size stays.
    if (!have_program("qemu-img")) return;
    const std::string qcow2 = scratch() / "disk.qcow2";
    ok({"qemu-img", "convert", "-O", "qcow2", image, qcow2});
    resize_ok({"-a", qcow2, "--resize", "/dev/sda1=305M", "--recreate"});
    ok({"qemu-img", "check", qcow2});
    ok({"qemu-img", "convert", "-O", "raw", qcow2, image});
    EXPECT_EQ(size_of(image), 322 * kMiB);
    EXPECT_TRUE(xfs_is_clean(cut_out(image, 1)));
    EXPECT_EQ(insp(look).out, before.out);
}

struct FatCase {
    const char* name;
    const char* type;
    const char* options;
    uint64_t size;
    const char* more;
    const char* less;
    const char* too_small;
};
void PrintTo(const FatCase& c, std::ostream* out) { *out << c.name; }

// A FAT in a partition, with files in it.
class ResizeFat : public ResizeKinds, public testing::WithParamInterface<FatCase> {
  protected:
    void SetUp() override {
        ResizeKinds::SetUp();
        if (IsSkipped()) return;
        ok({"sh", "-ec", R"sh(
            cd "$1"
            mkdir -p files/dir/deeper
            head -c 3000000 /dev/urandom >"files/a long name.bin"
            for i in $(seq 40); do echo "$i" >"files/dir/file number $i"; done
            echo hello >files/dir/deeper/hello.txt
            truncate -s "$3" system
            mkfs.fat $2 -h 2048 -n DATA -i 1234ABCD system >/dev/null
            mcopy -s -Q -i system files/* ::
            truncate -s $(($(stat -c %s system) + 2097152)) disk
            echo "label: gpt
            start=1MiB, size=$(($3 / 512))" | sfdisk -q disk
            dd if=system of=disk bs=1M seek=1 conv=notrunc,sparse status=none)sh",
            "sh", scratch().string(), GetParam().options, std::to_string(GetParam().size)});
    }
    std::string image() const { return scratch() / "disk"; }

    // That it takes all of its partition, is sound, and has what it had.
    void expect_sound() const {
        EXPECT_THAT(ok({"sfdisk", "-V", image()}), HasSubstr("No errors detected"));
        const std::string system = cut_out(image(), 1);
        ok({"fsck.fat", "-n", system});
        ok({"sh", "-ec",
            R"(cd "$1"; rm -rf out; mkdir out; mcopy -s -n -i "$2" '::*' out; diff -r files out)", "sh",
            scratch().string(), system});
        const std::string boot = ok({"minfo", "-i", system, "::"});
        const std::string sectors = std::to_string(size_of(system) / 512);
        EXPECT_THAT(boot,
                    AllOf(HasSubstr("hidden sectors: 2048"), HasSubstr("serial number: 1234ABCD"),
                          HasSubstr("disk label=\"DATA       \""),
                          HasSubstr(std::string("disk type=\"") + GetParam().type),
                          AnyOf(HasSubstr("big size: " + sectors), HasSubstr("small size: " + sectors))));
    }
};

TEST_P(ResizeFat, GrowsAndShrinks) {
    const FatCase& c = GetParam();
    resize_ok({"-a", image(), "--size", c.more});
    expect_sound();
    resize_ok({"-a", image(), "--size", c.less});
    EXPECT_LT(size_of(image()), c.size + 2 * kMiB);
    expect_sound();
    // What is in it doesn't fit, or others would take it for another type.
    expect_refused(image(), {"--resize", std::string("/dev/sda1=") + c.too_small},
                   "can't be made smaller than");
}

INSTANTIATE_TEST_SUITE_P(
    , ResizeFat,
    testing::Values(FatCase{"Fat12", "FAT12", "-F 12 -s 8", 8 * kMiB, "+4M", "-6M", "2M"},
                    FatCase{"Fat16", "FAT16", "-F 16", 64 * kMiB, "+50M", "-70M", "8M"},
                    FatCase{"Esp", "FAT32", "-F 32", 100 * kMiB, "+100M", "-110M", "32M"},
                    FatCase{"Fat32", "FAT32", "-F 32", 300 * kMiB, "+50M", "-70M", "256M"}),
    [](const auto& test) { return std::string(test.param.name); });

// A FAT32 with fewer clusters than the specification wants is one to the kernel, and stays one. Disks with
// sectors of 4096 bytes have FATs with such.
TEST_F(ResizeKinds, FatAsTheKernelHasIt) {
    const std::string image = scratch() / "disk";
    for (const char* options : {"-F 32 -s 1", "-F 32 -S 4096 -s 1"}) {
        SCOPED_TRACE(options);
        write_host_file(image, "");
        std::filesystem::resize_file(image, 12 * kMiB);
        ok({"sh", "-c", "mkfs.fat $2 $1", "sh", image, options});
        const Outcome filled =
            insp({"run", "-q", "--rw", "--format=raw", "-a", image, "--", "sh", "-ec",
                  "mount /dev/sda /sysroot; mkdir /sysroot/dir; seq 200000 >/sysroot/dir/numbers; "
                  "for i in $(seq 100); do echo $i >/sysroot/dir/$i; done; umount /sysroot"});
        ASSERT_TRUE(filled.ok()) << filled.describe();
        for (const char* size : {"+9M", "-15M", "+60M"}) {
            resize_ok({"-a", image, "--size", size});
            ok({"fsck.fat", "-n", image});
            const Outcome read = insp({"run", "-q", "--format=raw", "-a", image, "--", "sh", "-ec",
                                       "mount -o ro /dev/sda /sysroot; md5sum </sysroot/dir/numbers; "
                                       "cat /sysroot/dir/[0-9]* | wc -c"});
            EXPECT_THAT(read.out, HasSubstr(ok({"sh", "-c", "seq 200000 | md5sum"}).substr(0, 32)));
        }
    }
}

TEST_F(ResizeKinds, FatThatStaysAsItIs) {
    const std::string image = scratch() / "disk";
    write_host_file(image, "");
    std::filesystem::resize_file(image, 64 * kMiB);
    ok({"mkfs.fat", "-F", "16", "-f", "3", image});
    const Outcome grown = resize({"-a", image, "--size", "+8M"});
    EXPECT_TRUE(grown.ok()) << grown.describe();
    EXPECT_THAT(grown.err,
                HasSubstr("it holds vfat, which can't be resized here: it has 3 allocation tables"));
    expect_refused(image, {"--size", "-9M"}, "it has 3 allocation tables");

    // As a system leaves it that wasn't shut down.
    ok({"mkfs.fat", "-F", "16", image});
    ok({"sh", "-c", R"(printf '\001' | dd of="$1" bs=1 seek=37 conv=notrunc status=none)", "sh", image});
    expect_refused(image, {"--size", "+9M"}, "repair it first");
}

}  // namespace
}  // namespace inspect::test
