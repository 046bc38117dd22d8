// SPDX-License-Identifier: GPL-2.0-or-later
//
// Guests on LVM, LUKS, md, btrfs and what else is not a file system on a partition: they are inspected, read
// and changed like any other. The judges get the file systems out of the images by themselves.
#include <gmock/gmock.h>

#include <fstream>
#include <map>

#include "support/insp.h"

namespace inspect::test {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr const char* kKey = "all:key:guest-key";
constexpr const char* kRootUuid = "00000044-0044-4044-8044-000000000044";

class Stacks : public ApplianceTest {
  protected:
    // The ext file systems of this UUID in an image, wherever they lie in it, each as a file of 8 MiB.
    std::vector<std::string> ext_systems(const std::string& image, const std::string& uuid) const {
        constexpr size_t kSize = 8 << 20, kStep = 512, kSuper = 1024;
        std::string bytes;
        for (char c : uuid) {
            if (c != '-') bytes += c;
        }
        std::string binary;
        for (size_t i = 0; i < bytes.size(); i += 2)
            binary += static_cast<char>(std::stoi(bytes.substr(i, 2), nullptr, 16));
        const std::string disk = read_host_file(image);
        std::vector<std::string> found;
        for (size_t at = 0; at + kSize <= disk.size(); at += kStep) {
            const char* super = disk.data() + at + kSuper;
            // The magic number, the UUID and the number of the block group, which is 0 in the first copy
            // alone.
            if (super[0x38] != '\x53' || super[0x39] != '\xef' || super[0x5a] != 0 ||
                disk.compare(at + kSuper + 0x68, 16, binary) != 0)
                continue;
            found.push_back(scratch() / ("ext-" + std::to_string(found.size())));
            write_host_file(found.back(), disk.substr(at, kSize));
            at += kSize - kStep;  // its journal may hold its superblock once more
        }
        return found;
    }

    // inspect, cat and edit, and what the root's own file system says of it afterwards.
    void expect_usable(const std::string& image, const std::string& root, const Args& more = {}) const {
        auto with = [&](Args args) {
            args.insert(args.end(), {"-a", image});
            args.insert(args.end(), more.begin(), more.end());
            return args;
        };
        json systems = insp_json(with({"inspect", "--json"}))["operating_systems"];
        ASSERT_EQ(systems.size(), 1U) << systems;
        EXPECT_EQ(systems[0]["root"], root);
        EXPECT_EQ(systems[0]["hostname"], "old-debian");
        EXPECT_EQ(insp_ok(with({"cat", "/etc/hostname"})), "old-debian\n");
        insp_ok(with({"edit", "-e", "s/old/new/", "/etc/hostname"}));
        EXPECT_EQ(insp_ok(with({"cat", "/etc/hostname"})), "new-debian\n");
    }
    static void expect_changed(const std::string& file_system) {
        EXPECT_TRUE(ext_is_clean(file_system));
        EXPECT_EQ(debugfs(file_system, "cat /etc/hostname"), "new-debian\n");
    }
};

TEST_F(Stacks, Lvm) {
    std::string image = copy_of("lvm");
    expect_usable(image, "/dev/debian-vg/root");
    EXPECT_EQ(insp_ok({"cat", "-a", image, "/home/alice/notes.txt"}), "notes\n");
    // By any name that LVM and the kernel have for it.
    for (const char* device : {"/dev/debian-vg/home", "/dev/mapper/debian--vg-home"})
        EXPECT_EQ(insp_ok({"cat", "-a", image, "-m", device, "/alice/notes.txt"}), "notes\n");
    std::vector<std::string> systems = ext_systems(image, kRootUuid);
    ASSERT_EQ(systems.size(), 1U);
    expect_changed(systems[0]);
}

TEST_F(Stacks, ReadingLeavesTheImageAlone) {
    std::string image = copy_of("lvm");
    std::string before = sha256(image);
    insp_ok({"inspect", "-a", image});
    EXPECT_EQ(sha256(image), before);
}

// What is put together while another disk is changed stays as it was, byte for byte. It is put together
// because the guest's fstab names for /gone what is on none of the plain partitions.
TEST_F(Stacks, PuttingTogetherIsNoChange) {
    for (const char* name : {"lvm", "md", "md-degraded", "lvm-on-luks", "lvm-on-md"}) {
        std::string guest_disk = copy_of("fake-debian");
        std::string image = copy_of(name);
        std::string before = sha256(image);
        Outcome outcome =
            insp({"touch", "-a", guest_disk, "-a", image, "--root", "/dev/sda1", "--key", kKey, "/gone/new"});
        EXPECT_TRUE(outcome.ok()) << outcome.describe();
        EXPECT_EQ(sha256(image), before) << name;
        fs::remove(image);
        fs::remove(guest_disk);
    }
}

TEST_F(Stacks, KindsOfLogicalVolumes) {
    std::string image = guest("lvm-kinds");
    for (const char* device : {"/dev/vg/striped", "/dev/vg/mirrored", "/dev/vg/thin"}) {
        std::string expected = std::string(device) == "/dev/vg/striped" ? "later\n" : "hello, guest\n";
        EXPECT_EQ(insp_ok({"cat", "-a", image, "-m", device, "/hello.txt"}), expected) << device;
    }
    for (const char* device : {"/dev/vg/striped-snap", "/dev/vg/thin-snap"})
        EXPECT_EQ(insp_ok({"cat", "-a", image, "-m", device, "/hello.txt"}), "hello, guest\n") << device;
}

// Two guests that were installed alike, opened together: one group gets another name while nothing is
// written.
TEST_F(Stacks, VolumeGroupsOfOneName) {
    std::string one = guest("lvm"), other = guest("lvm-twin");
    Outcome both = insp({"filesystems", "-a", one, "-a", other});
    EXPECT_TRUE(both.ok()) << both.describe();
    EXPECT_THAT(both.out, AllOf(HasSubstr("/dev/debian-vg/root\n"), HasSubstr("/dev/debian-vg_2/root\n")));
    EXPECT_THAT(both.err, AllOf(HasSubstr("two volume groups named debian-vg"), HasSubstr("/dev/sdb2")));
    // The same disk twice is one volume group.
    std::string copy = copy_of("lvm");
    Outcome twice = insp({"filesystems", "-a", one, "-a", copy});
    EXPECT_THAT(twice.err, HasSubstr("/dev/sdb2: it is a copy of the physical volume /dev/sda2"));
    // For writing it can't be told apart, so it is left alone and said.
    std::string writable = copy_of("lvm", "first"), second = copy_of("lvm-twin", "second");
    std::string before = sha256(second);
    Outcome edit = insp({"edit", "-a", writable, "-a", second, "--root", "/dev/debian-vg/root", "-e",
                         "s/old/new/", "/etc/hostname"});
    EXPECT_THAT(edit.err, HasSubstr("open its image by itself")) << edit.describe();
    EXPECT_EQ(sha256(second), before);
}

TEST_F(Stacks, APhysicalVolumeIsMissing) {
    std::string image = copy_of("lvm-kinds");
    std::fstream file(image, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(41 << 20);
    file << std::string(1 << 20, '\0');
    file.close();
    Outcome outcome = insp({"filesystems", "-a", image});
    EXPECT_THAT(outcome.err, HasSubstr("the volume group vg misses a physical volume"));
}

TEST_F(Stacks, Luks) {
    std::string image = copy_of("luks");
    expect_usable(image, "/dev/mapper/luks-00000046-0046-4046-8046-000000000046", {"--key", kKey});
    EXPECT_EQ(insp_ok({"cat", "-a", image, "--key", "/dev/vda2:key:guest-key", "/boot/vmlinuz"}), "kernel\n");
    write_host_file(scratch() / "key", "guest-key\n");
    EXPECT_EQ(insp_ok({"cat", "-a", image, "--key",
                       "00000046-0046-4046-8046-000000000046:file:" + (scratch() / "key").string(),
                       "/etc/hostname"}),
              "new-debian\n");
    Outcome piped =
        insp({"cat", "-a", image, "--keys-from-stdin", "/etc/hostname"}, {.input = "another\nguest-key\n"});
    EXPECT_EQ(piped.out, "new-debian\n") << piped.describe();
    // Nothing of it is readable in the image, and the header is a header still.
    EXPECT_THAT(read_host_file(image), Not(HasSubstr("old-debian")));
}

TEST_F(Stacks, LuksWithoutItsKey) {
    std::string image = guest("luks");
    EXPECT_TRUE(refused(insp({"cat", "-a", image, "/etc/hostname"}), kFailed,
                        "/dev/sda2 is encrypted: give its key (--key /dev/sda2:key:...)"));
    EXPECT_TRUE(refused(insp({"cat", "-a", image, "--key", "/dev/sda2:key:wrong", "/etc/hostname"}), kFailed,
                        "/dev/sda2: it is encrypted, and no key that was given for it fits"));
    EXPECT_TRUE(refused(insp({"cat", "-a", image, "-m", "/dev/sda2", "/etc/hostname"}), kFailed,
                        "it is encrypted (LUKS): give its key"));
    EXPECT_TRUE(refused(insp({"cat", "-a", image, "--key", "/dev/sda2:clevis", "/x"}), kFailed, "clevis"));
    EXPECT_EQ(insp({"cat", "-a", image, "--key", "guest-key", "/x"}).code, kUsage);
    EXPECT_EQ(insp({"cat", "-a", image, "--key", ":key:guest-key", "/x"}).code, kUsage);
    EXPECT_TRUE(
        refused(insp({"cat", "-a", image, "--key", "all:file:/nonexistent", "/x"}), kFailed, "/nonexistent"));
    // Not even when everything is said is a key.
    Outcome verbose = insp({"cat", "-v", "-x", "-a", image, "--key", kKey, "/etc/hostname"});
    EXPECT_THAT(verbose.err, Not(HasSubstr("guest-key")));
}

// QEMU's own LUKS driver is the judge: it decrypts, and the root is in there.
TEST_F(Stacks, LvmOnLuks) {
    std::string image = copy_of("lvm-on-luks");
    expect_usable(image, "/dev/ubuntu-vg/ubuntu-lv", {"--key", kKey});
    EXPECT_EQ(insp_ok({"cat", "-a", image, "--key", kKey, "/home/alice/notes.txt"}), "notes\n");
    std::string encrypted = cut_out(image, 2);
    Outcome decrypted =
        run({"qemu-img", "convert", "--object", "secret,id=key,data=guest-key", "--image-opts",
             "driver=luks,key-secret=key,file.filename=" + encrypted, "-O", "raw", scratch() / "plain"});
    ASSERT_TRUE(decrypted.ok()) << decrypted.describe();
    std::vector<std::string> systems = ext_systems(scratch() / "plain", kRootUuid);
    ASSERT_EQ(systems.size(), 1U);
    expect_changed(systems[0]);
}

TEST_F(Stacks, LuksOnLvm) {
    std::string image = copy_of("luks-on-lvm");
    expect_usable(image, "/dev/mapper/luks-00000055-0055-4055-8055-000000000055",
                  {"--key", "/dev/fedora/root:key:guest-key"});
}

// Unlocking wants more memory than the appliance has: it is started anew with enough.
TEST_F(Stacks, Argon2GetsTheMemoryThatItWants) {
    std::string image = guest("luks-argon2");
    const std::string device = "/dev/mapper/luks-00000048-0048-4048-8048-000000000048";
    EXPECT_EQ(insp_ok({"cat", "-a", image, "--key", kKey, "-m", device, "/hello.txt"}), "hello, guest\n");
    Outcome small = insp({"cat", "-a", image, "--key", kKey, "--memory", "96M", "-m", device, "/hello.txt"});
    EXPECT_TRUE(refused(small, kFailed, "there is no " + device));
    EXPECT_THAT(small.err, HasSubstr("--memory"));
    // Also where nothing is mounted, and a program is run at once.
    const Outcome program = insp({"run", "-a", image, "--key", kKey, "blkid -o value -s TYPE " + device});
    EXPECT_EQ(program.out, "ext4\n") << program.describe();
    EXPECT_EQ(program.err, "");
}

TEST_F(Stacks, Arrays) {
    std::string image = copy_of("md");
    expect_usable(image, "/dev/md0");
    EXPECT_EQ(insp_ok({"cat", "-a", image, "-m", "/dev/md/home", "/alice/notes.txt"}), "notes\n");
    // Both halves of the mirror have the change, and the array is clean.
    std::vector<std::string> halves = ext_systems(image, kRootUuid);
    ASSERT_EQ(halves.size(), 2U);
    for (const std::string& half : halves) expect_changed(half);
    for (unsigned member : {1U, 2U}) {
        Outcome examined = run({"mdadm", "--examine", cut_out(image, member)});
        EXPECT_THAT(examined.out, AllOf(HasSubstr("State : clean"), HasSubstr("Array State : AA"))) << member;
    }
}

TEST_F(Stacks, DegradedArrays) {
    std::string image = copy_of("md-degraded");
    std::string before = sha256(image);
    EXPECT_EQ(insp_ok({"cat", "-a", image, "/home/alice/notes.txt"}), "notes\n");
    Outcome edit = insp({"edit", "-a", image, "-m", "/dev/md0", "-e", "s/old/new/", "/etc/hostname"});
    EXPECT_TRUE(refused(edit, kFailed, "cannot mount /dev/md0 for writing: the RAID is degraded"));
    EXPECT_EQ(sha256(image), before);
}

// Not even by who doesn't mount it: the guest would have to know which member is out of date.
TEST_F(Stacks, DegradedArraysAreReadOnlyForPrograms) {
    std::string image = copy_of("md-degraded");
    std::string before = sha256(image);
    Outcome outcome =
        insp({"run", "--rw", "-a", image, "--", "sh", "-c",
              "dd if=/dev/zero of=/dev/md0 bs=4k count=1 conv=fsync && echo written; "
              "e2fsck -f -y /dev/md0; mount /dev/md0 /sysroot; touch /sysroot/x; umount /sysroot; "
              "mount -o ro /dev/md0 /sysroot && cat /sysroot/etc/hostname && umount /sysroot"});
    EXPECT_TRUE(outcome.ok()) << outcome.describe();
    EXPECT_EQ(outcome.out.find("written"), std::string::npos) << outcome.describe();
    EXPECT_THAT(outcome.out, HasSubstr("old-debian\n"));
    EXPECT_EQ(sha256(image), before);
}

// Members that look like what is on the array, on partitions that don't say that they are members.
TEST_F(Stacks, MirrorsThatLookLikeTheirContents) {
    std::string image = copy_of("md-end");
    std::string before = sha256(image);
    EXPECT_EQ(insp_ok({"cat", "-a", image, "/boot/efi/EFI/loader"}), "loader\n");
    EXPECT_THAT(insp_ok({"filesystems", "-a", image}), HasSubstr("/dev/md0\n/dev/md1\n"));
    for (const Args& half : {Args{"-m", "/dev/sda3"}, Args{"--root", "/dev/sda3"}}) {
        Args args{"touch", "-a", image, "/etc/new"};
        args.insert(args.end(), half.begin(), half.end());
        EXPECT_TRUE(refused(insp(args), kFailed, "it is a member of the RAID /dev/md0"));
    }
    EXPECT_EQ(sha256(image), before);
    expect_usable(image, "/dev/md0");
    insp_ok({"mv", "-a", image, "/boot/efi/EFI/loader", "/boot/efi/EFI/renamed"});
    std::vector<std::string> halves = ext_systems(image, kRootUuid);
    ASSERT_EQ(halves.size(), 2U);
    for (const std::string& half : halves) expect_changed(half);
    EXPECT_TRUE(same_bytes(halves[0], halves[1]));
    for (unsigned member : {1U, 2U})
        EXPECT_EQ(run({"mdir", "-b", "-i", cut_out(image, member), "::EFI"}).out, "::/EFI/renamed\n");
}

TEST_F(Stacks, LessCommonLevelsOfArrays) {
    std::string image = copy_of("mirrors-and-stripes");
    const std::vector<std::string> names = {"zero", "linear", "four", "six", "mirrored"};
    auto with_all = [&](Args args) {
        args.insert(args.end(), {"-a", image});
        for (const std::string& name : names) {
            const std::string device = (name == "mirrored" ? "/dev/mir/" : "/dev/md/") + name;
            args.insert(args.end(), {"-m", device + (name == "zero" ? ":/" : ":/" + name)});
        }
        return args;
    };
    const Args read = with_all({"cat", "/name", "/linear/name", "/four/name", "/six/name", "/mirrored/name"});
    EXPECT_EQ(insp_ok(read), "zero\nlinear\nfour\nsix\nmirrored\n");
    insp_ok(with_all(
        {"edit", "-e", "s/$/!/", "/name", "/linear/name", "/four/name", "/six/name", "/mirrored/name"}));
    EXPECT_EQ(insp_ok(read), "zero!\nlinear!\nfour!\nsix!\nmirrored!\n");
    const json listed = insp_json({"filesystems", "--json", "-a", image})["filesystems"];
    std::string levels;
    for (const json& item : listed) {
        if (item.contains("volume") && item["volume"]["kind"] == "md")
            levels += item["volume"]["group"].get<std::string>() + " ";
    }
    EXPECT_THAT(levels,
                AllOf(HasSubstr("raid0 "), HasSubstr("linear "), HasSubstr("raid4 "), HasSubstr("raid6 ")));
}

TEST_F(Stacks, LvmOnAnArray) { expect_usable(copy_of("lvm-on-md"), "/dev/vg0/root"); }

class Btrfs : public Stacks {
  protected:
    // What `btrfs check` thinks of it, and the file as `btrfs restore` finds it.
    void expect_changed(const std::string& image, const std::string& root_file) const {
        std::string partition = cut_out(image, 1);
        Outcome checked = run({"btrfs", "check", "--readonly", partition});
        EXPECT_TRUE(checked.ok()) << checked.describe();
        fs::path folder = scratch() / "restored";
        fs::create_directory(folder);
        Outcome restored = run({"btrfs", "restore", "-i", "-s", partition, folder});
        EXPECT_TRUE(restored.ok()) << restored.describe();
        if (restored.ok()) {
            EXPECT_EQ(read_host_file(folder / root_file), "new-debian\n");
        }
    }
};

TEST_F(Btrfs, Ubuntu) {
    std::string image = copy_of("btrfs");
    expect_usable(image, "btrfsvol:/dev/sda1/@");
    EXPECT_EQ(insp_ok({"cat", "-a", image, "/home/alice/notes.txt"}), "notes\n");
    EXPECT_EQ(insp_ok({"cat", "-a", image, "-m", "btrfsvol:/dev/sda1/@home", "/alice/notes.txt"}), "notes\n");
    expect_changed(image, "@/etc/hostname");
}
TEST_F(Btrfs, Fedora) {
    std::string image = copy_of("btrfs-fedora");
    expect_usable(image, "btrfsvol:/dev/sda1/root");
    expect_changed(image, "root/etc/hostname");
}
// As virt-filesystems lists them.
TEST_F(Btrfs, SubvolumesAreListed) {
    EXPECT_EQ(insp_ok({"filesystems", "-a", guest("btrfs")}),
              "/dev/sda1\nbtrfsvol:/dev/sda1/@\nbtrfsvol:/dev/sda1/@home\nbtrfsvol:/dev/sda1/@snapshot\n");
    json listed = insp_json({"filesystems", "--json", "-a", guest("btrfs-raid1")})["filesystems"];
    ASSERT_GE(listed.size(), 3U) << listed;
    EXPECT_EQ(listed[2]["device"], "btrfsvol:/dev/sda1/@");
    EXPECT_EQ(listed[2]["volume"]["kind"], "subvolume");
}
TEST_F(Btrfs, Suse) {
    std::string image = copy_of("btrfs-suse");
    expect_usable(image, "/dev/sda1");
    EXPECT_EQ(insp_ok({"cat", "-a", image, "/home/alice/notes.txt"}), "notes\n");
}
TEST_F(Btrfs, OverTwoDevices) {
    std::string image = copy_of("btrfs-raid1");
    expect_usable(image, "btrfsvol:/dev/sda1/@");
}

TEST_F(Stacks, OtherFileSystems) {
    for (const char* name : {"ntfs", "ntfs-dirty", "f2fs", "exfat", "udf", "xfs-v4"}) {
        SCOPED_TRACE(name);
        std::string image = copy_of(name);
        EXPECT_EQ(insp_ok({"cat", "-a", image, "-m", "/dev/sda", "/hello.txt"}), "hello, guest\n");
        Outcome written = insp({"write", "-a", image, "-m", "/dev/sda", "/new.txt"}, {.input = "new\n"});
        EXPECT_TRUE(written.ok()) << written.describe();
        EXPECT_EQ(insp_ok({"cat", "-a", image, "-m", "/dev/sda", "/new.txt"}), "new\n");
        Outcome judged;
        if (std::string(name).starts_with("ntfs")) {
            judged = run({"ntfscat", "-f", image, "/new.txt"});
            EXPECT_EQ(judged.out, "new\n");
        } else if (std::string(name) == "f2fs") {
            judged = run({"fsck.f2fs", "--dry-run", image});
        } else if (std::string(name) == "exfat") {
            judged = run({"fsck.exfat", "-n", image});
        } else if (std::string(name) == "xfs-v4") {
            EXPECT_TRUE(xfs_is_clean(image));
            continue;
        } else {
            continue;  // nothing in Debian checks UDF
        }
        EXPECT_TRUE(judged.ok()) << judged.describe();
    }
}

TEST_F(Stacks, FileSystemsThatNobodyCanChange) {
    for (const char* name : {"iso9660", "squashfs", "erofs"}) {
        SCOPED_TRACE(name);
        std::string image = guest(name);
        json found = insp_json({"filesystems", "--json", "-a", image});
        EXPECT_EQ(found["filesystems"][0]["type"], name) << found;
        EXPECT_EQ(insp_ok({"cat", "-a", image, "-m", "/dev/sda", "/a long name, with blänks"}),
                  "hello, guest\n");
        EXPECT_EQ(insp_ok({"ls", "-R", "-a", image, "-m", "/dev/sda", "/dir"}), "sub\nsub/deep.txt\n");
    }
    json mac = insp_json({"filesystems", "--json", "-a", guest("hfsplus")});
    EXPECT_EQ(mac["filesystems"][0]["type"], "hfsplus") << mac;
    EXPECT_EQ(insp_ok({"cat", "-a", guest("hfsplus"), "-m", "/dev/sda", "/dir/sub/deep.txt"}), "deep\n");
    std::string image = copy_of("squashfs");
    EXPECT_TRUE(
        refused(insp({"touch", "-a", image, "-m", "/dev/sda", "/new"}), kFailed, "Read-only file system"));
    EXPECT_TRUE(same_bytes(image, guest("squashfs")));
}

TEST_F(Stacks, HibernatedWindowsIsOnlyRead) {
    std::string image = copy_of("ntfs-hibernated");
    std::string before = sha256(image);
    EXPECT_EQ(insp_ok({"cat", "-a", image, "-m", "/dev/sda", "/hello.txt"}), "hello, guest\n");
    Outcome written = insp({"write", "-a", image, "-m", "/dev/sda", "/new.txt"}, {.input = "new\n"});
    EXPECT_TRUE(refused(written, kFailed, "Windows is hibernated"));
    // By whatever driver.
    for (const char* mount : {"/dev/sda:/::ntfs", "/dev/sda:/::ntfs3", "/dev/sda:/::ntfs-3g"})
        EXPECT_TRUE(
            refused(insp({"touch", "-a", image, "-m", mount, "/new.txt"}), kFailed, "Windows is hibernated"))
            << mount;
    EXPECT_EQ(sha256(image), before);
}

TEST_F(Stacks, NtfsDriversAndTheirOptions) {
    std::string image = copy_of("ntfs");
    EXPECT_EQ(insp_ok({"cat", "-a", image, "-m", "/dev/sda:/::ntfs-3g", "/hello.txt"}), "hello, guest\n");
    insp_ok({"touch", "-a", image, "-m", "/dev/sda:/::ntfs3", "/new.txt"});
    // Names that Windows can't have are an option of ntfs-3g.
    EXPECT_TRUE(refused(insp({"touch", "-a", image, "-m", "/dev/sda:/:windows_names", "/a:b"}), kFailed,
                        "Invalid argument"));
    insp_ok({"touch", "-a", image, "-m", "/dev/sda", "/a:b"});
}

// Volumes that Windows made, if they can be had (tests/guests/bitlocker.sh).
class BitLocker : public Stacks {
  protected:
    void SetUp() override {
        Stacks::SetUp();
        if (IsSkipped()) return;
        Outcome made = run({std::string(INSP_SOURCE_DIR) + "/tests/guests/make", "bitlocker-images"},
                           {.timeout = std::chrono::minutes(10)});
        if (!made.ok()) GTEST_SKIP() << "cryptsetup's test images can't be fetched: " << made.err;
        archive_ = made.out.substr(0, made.out.find('\n'));
    }
    std::string archive_;
};

TEST_F(BitLocker, IsReadAndChanged) {
    std::string image = copy_of("bitlocker");
    const Args in{"-a", image, "-m", "/dev/mapper/bitlk-sda"};
    auto with = [&](Args args, const std::string& key) {
        args.insert(args.end(), in.begin(), in.end());
        args.insert(args.end(), {"--key", "/dev/sda:key:" + key});
        return args;
    };
    Outcome wrong = insp(with({"cat", "/hello.txt"}, "wrong"));
    EXPECT_EQ(wrong.code, kFailed);
    EXPECT_THAT(wrong.err, HasSubstr("no key that was given for it fits"));
    EXPECT_TRUE(refused(insp({"cat", "-a", image, "-m", "/dev/sda", "/hello.txt"}), kFailed, "--key"));
    Outcome written = insp(with({"write", "/new.txt"}, "anaconda"), {.input = "new\n"});
    EXPECT_TRUE(written.ok()) << written.describe();
    // The recovery password is a key as well; it is printed in images.conf.
    EXPECT_EQ(insp_ok(with({"cat", "/hello.txt", "/dir/sub/deep.txt", "/new.txt"},
                           "235818-357951-253979-013365-241120-245575-342914-591910")),
              "hello, guest\ndeep\nnew\n");
    EXPECT_EQ(read_host_file(image).find("hello, guest"), std::string::npos) << "it is encrypted";
}

// What comes out is what cryptsetup's authors say. (Two ciphers; each costs a hundred megabytes of SHA-256.)
TEST_F(BitLocker, WhatIsDecryptedIsRight) {
    ASSERT_TRUE(run({"tar", "-C", scratch(), "-xSf", archive_, "--strip-components=1"}).ok());
    std::map<std::string, std::map<std::string, std::string>> expected;
    std::ifstream file(scratch() / "images.conf");
    std::string section;
    for (std::string line; std::getline(file, line);) {
        if (line.starts_with('[')) section = line.substr(1, line.find(']') - 1);
        if (size_t equals = line.find('='); equals != line.npos)
            expected[section][line.substr(0, equals)] = line.substr(equals + 1);
    }
    for (const char* name : {"bitlk-aes-cbc-elephant-128", "bitlk-togo-aes-xts-128"}) {
        SCOPED_TRACE(name);
        const std::string image = scratch() / (std::string(name) + ".img");
        ASSERT_FALSE(expected[name]["SHA256SUM"].empty());
        Args command{"run",
                     "-a",
                     image,
                     "--key",
                     "all:key:" + expected[name]["PW"],
                     "--",
                     "cat",
                     "/dev/mapper/bitlk-sda"};
        write_host_file(scratch() / "decrypted", insp_ok(command));
        EXPECT_EQ(sha256(scratch() / "decrypted"), expected[name]["SHA256SUM"]);
    }
    // One that is still being encrypted is cryptsetup's to refuse.
    Outcome half = insp({"filesystems", "-a", scratch() / "bitlk-aes-xts-128-eow.img", "--key",
                         "all:key:" + expected["bitlk-aes-xts-128-eow"]["PW"]});
    EXPECT_THAT(half.err, HasSubstr("encrypt-on-write"));
}

// What can't be opened is named. A superblock is enough to be recognised by.
TEST_F(Stacks, WhatTheApplianceCannotOpenIsNamed) {
    std::string image = scratch() / "apfs";
    std::string disk(1 << 20, '\0');
    // APFS, "nx_superblock_t": the object's header, then "NXSB" and the block size.
    disk.replace(0x08, 1, "\x01", 1);
    disk.replace(0x18, 4, std::string("\x01\x00\x00\x80", 4));
    disk.replace(0x20, 4, "NXSB");
    disk.replace(0x24, 4, std::string("\x00\x10\x00\x00", 4));
    write_host_file(image, disk);
    EXPECT_TRUE(refused(insp({"ls", "-a", image, "-m", "/dev/sda", "/"}), kFailed,
                        "it holds APFS, which the appliance cannot open"));
}

// Also to who didn't ask for the device, but for what is on the guest.
TEST_F(Stacks, ARootThatTheApplianceCannotOpenIsNamed) {
    std::string image = scratch() / "bcache";
    std::string disk(1 << 20, '\0');
    // struct cache_sb of bcache: where it is, its version, and the magic number.
    disk.replace(4096 + 8, 1, "\x08");
    disk.replace(4096 + 16, 1, "\x01");
    disk.replace(4096 + 24, 16, "\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65\xf5\x7f\x48\xba\x6d\x81");
    disk.replace(4096 + 40, 1, "\x07");  // of its UUID
    write_host_file(image, disk);
    const std::string named = "/dev/sda holds a bcache device, which the appliance cannot open";
    EXPECT_TRUE(refused(insp({"cat", "-a", image, "/etc/hostname"}), kFailed, named));
    const Outcome inspected = insp({"inspect", "-a", image});
    EXPECT_THAT(inspected.err, HasSubstr(named)) << inspected.describe();
}

}  // namespace
}  // namespace inspect::test
