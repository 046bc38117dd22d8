// SPDX-License-Identifier: GPL-2.0-or-later
//
// The parsers of the guest's texts: fstab, accounts, release files, modes, mount options, device names.
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include <cstdlib>

#include "accounts.h"
#include "agent_harness.h"
#include "disks.h"
#include "failure.h"
#include "fstab.h"
#include "mode_expression.h"
#include "mount_options.h"
#include "release_files.h"

namespace inspect::agent {
namespace {

std::string paths_of(std::string_view fstab) {
    std::string out;
    for (const FstabEntry& entry : parse_fstab(fstab)) out += entry.spec + " on " + entry.path + "\n";
    return out;
}

TEST(Fstab, TakesWhatIsMountedAtBoot) {
    EXPECT_EQ(paths_of("# comment\n"
                       "UUID=1 /boot/efi vfat umask=0077 0 1\n"
                       "\t/dev/sda1\t/\text4 errors=remount-ro 0 1\r\n"
                       "LABEL=home /home// xfs defaults\n"
                       "/dev/sda5 none swap sw 0 0\n"
                       "/dev/sda6 swap swap sw 0 0\n"
                       "proc /proc proc defaults 0 0\n"
                       "tmpfs /tmp tmpfs nosuid 0 0\n"
                       "server:/x /mnt nfs defaults 0 0\n"
                       "//server/share /mnt/s cifs defaults 0 0\n"
                       "/dev/sr0 /media/cdrom0 udf,iso9660 user,noauto 0 0\n"
                       "/home/x /srv none bind 0 0\n"
                       "/dev/sdb1 /srv ext4 bind 0 0\n"
                       "PARTUUID=2 /boot ext2\n"
                       "/dev/sdc1 relative ext4\n"
                       "/dev/sdc1 /a/../etc ext4\n"
                       "/dev/sdd1 /with\\040blank\\134x ext4\n"
                       "onlyone\n\n"),
              "/dev/sda1 on /\nLABEL=home on /home\nPARTUUID=2 on /boot\n/dev/sdd1 on /with blank\\x\nUUID=1 "
              "on /boot/efi\n");
}

TEST(Fstab, OfTwoForOnePathTheLastCounts) {
    EXPECT_EQ(paths_of("/dev/sda1 / ext4\n/dev/sda2 /x ext4\n/dev/sda3 /x/ ext4\n"),
              "/dev/sda1 on /\n/dev/sda3 on /x\n");
}

TEST(Fstab, OctalEscapes) {
    EXPECT_EQ(decode_octal("a\\040b\\011\\134\\04x\\400\\0"), "a b\t\\\\04x\\400\\0");
    FstabEntry entry{"", "", "", "defaults,nofail,x-y"};
    EXPECT_TRUE(entry.has_option("nofail"));
    EXPECT_FALSE(entry.has_option("fail"));
}

TEST(Accounts, NamesAndNumbers) {
    constexpr char kPasswd[] =
        "root:x:0:0:root:/root:/bin/sh\nalice:x:1000:1001::/home/alice:/bin/sh\n1234:x:55:66::/:/bin/"
        "sh\nbroken\n";
    constexpr char kGroup[] = "root:x:0:\nstaff:x:50:alice\n";
    auto owner = [&](std::string_view text) {
        Owner parsed = parse_owner(text, kPasswd, kGroup);
        return (parsed.uid ? std::to_string(*parsed.uid) : "-") + ":" +
               (parsed.gid ? std::to_string(*parsed.gid) : "-");
    };
    EXPECT_EQ(owner("alice"), "1000:-");
    EXPECT_EQ(owner("alice:staff"), "1000:50");
    EXPECT_EQ(owner("alice:"), "1000:1001");
    EXPECT_EQ(owner("1000:"), "1000:1001");
    EXPECT_EQ(owner(":staff"), "-:50");
    EXPECT_EQ(owner("7:8"), "7:8");
    EXPECT_EQ(owner("1234"), "55:-") << "a name of digits is a name first";
    for (const char* bad : {"", ":", "bob", "alice:bob", "-1", "4294967295", "7:x", "9999:"})
        EXPECT_THROW(owner(bad), Failure) << bad;
}

TEST(ModeExpression, AgreesWithChmod) {
    TemporaryDirectory directory;
    const char* expressions[] = {
        "0644",    "4755", "u+x", "go-rwx",  "a=r",   "u=rw,go=r",      "+x",    "-w",  "=rx", "a+X", "g+s",
        "u+s,g-s", "o+t",  "+t",  "g=u",     "o=g-w", "u=rwx,g=u-w,o=", "ug+rw", "go=", "a=",  "u-s", "00755",
        "0",       "=",    "g=s", "u+xs,o=t"};
    std::string file = directory / "file";
    std::string folder = directory / "folder";
    write_text(file, "");
    std::filesystem::create_directory(folder);
    for (const std::string& path : {file, folder}) {
        for (mode_t start : {0644, 0755, 07777, 0000, 02750, 01700}) {
            for (const char* expression : expressions) {
                struct stat before, after;
                ASSERT_EQ(::chmod(path.c_str(), start), 0);
                ASSERT_EQ(::stat(path.c_str(), &before), 0);
                ASSERT_EQ(std::system(("umask 022; chmod -- " + std::string(expression) + " " + path +
                                       " 2>/dev/null || true")
                                          .c_str()),
                          0);
                ASSERT_EQ(::stat(path.c_str(), &after), 0);
                EXPECT_EQ(ModeExpression(expression).apply(before.st_mode), after.st_mode & 07777)
                    << expression << " on " << std::oct << start << (path == folder ? " directory" : " file");
            }
        }
    }
    for (const char* bad : {"", "8", "u", "u+rw,", "u+q", "+,", "77777", "rw", "u+r go-w"})
        EXPECT_THROW(ModeExpression{bad}, Failure) << bad;
}

TEST(MountOptions, FlagsAndData) {
    MountOptions options;
    options.flags = MS_NODEV | MS_NOATIME;
    options.add_all(
        "ro,relatime,subvol=@/x,defaults,dev,x-systemd.automount,user_xattr,context=\"a,b\",nofail");
    EXPECT_TRUE(options.read_only());
    EXPECT_EQ(options.flags, static_cast<unsigned long>(MS_RDONLY | MS_NODEV | MS_RELATIME));
    EXPECT_EQ(options.data, "subvol=@/x,user_xattr,context=\"a,b\"");
    EXPECT_TRUE(options.has("subvol"));
    EXPECT_FALSE(options.has("sub"));
    options.add("rw");
    EXPECT_FALSE(options.read_only());
}

TEST(DeviceNames, AreTheFields) {
    EXPECT_EQ(disk_name(0), "sda");
    EXPECT_EQ(disk_name(25), "sdz");
    EXPECT_EQ(disk_name(26), "sdaa");
    EXPECT_EQ(disk_name(63), "sdbl");
    for (size_t i = 0; i < 100; ++i) EXPECT_EQ(parse_device_name("/dev/" + disk_name(i))->disk, i);
    for (const char* same : {"/dev/sdb12", "/dev/vdb12", "/dev/hdb12", "/dev/xvdb12", "sdb12"}) {
        ASSERT_TRUE(parse_device_name(same)) << same;
        EXPECT_EQ(parse_device_name(same)->disk, 1u);
        EXPECT_EQ(parse_device_name(same)->partition, 12u);
    }
    for (const char* bad : {"", "/dev/", "/dev/sd", "/dev/sda0", "/dev/sda1x", "/dev/sda1234", "/dev/nvme0n1",
                            "/dev/mapper/x", "/dev/sdA"})
        EXPECT_FALSE(parse_device_name(bad)) << bad;
    EXPECT_EQ(decode_udev("My\\x20Disk\\x2fx\\q"), "My Disk/x\\q");
}

TEST(ReleaseFiles, OsRelease) {
    struct {
        const char* text;
        const char* distro;
        int major, minor;
        const char* osinfo;
        const char* packages;
    } cases[] = {
        {"ID=debian\nVERSION_ID=\"12\"\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n", "debian", 12, 0,
         "debian12", "deb apt"},
        {"ID=ubuntu\nVERSION_ID=\"22.04\"\n", "ubuntu", 22, 4, "ubuntu22.04", "deb apt"},
        {"ID=fedora\nVERSION_ID=39\nVARIANT_ID=cloud\n", "fedora", 39, 0, "fedora39", "rpm dnf"},
        {"ID=\"rhel\"\nVERSION_ID=\"9.2\"\n", "rhel", 9, 2, "rhel9.2", "rpm dnf"},
        {"ID=\"centos\"\nVERSION_ID=\"7\"\n", "centos", 7, 0, "centos7.0", "rpm yum"},
        {"ID=\"rocky\"\nVERSION_ID=\"9.3\"\n", "rocky", 9, 3, "rocky9", "rpm dnf"},
        {"ID=\"opensuse-leap\"\nVERSION_ID=\"15.5\"\n", "opensuse", 15, 5, "opensuse15.5", "rpm zypper"},
        {"ID=\"sles\"\nVERSION_ID=\"15.4\"\n", "sles", 15, 4, "sles15sp4", "rpm zypper"},
        {"ID=alpine\nVERSION_ID=3.18.4\n", "alpine", 3, 18, "alpine3.18", "apk apk"},
        {"ID=arch\nBUILD_ID=rolling\n", "archlinux", 0, 0, "archlinux", "pacman pacman"},
        {"", "", 0, 0, "", " "},
    };
    for (const auto& c : cases) {
        Release release = parse_os_release(c.text);
        EXPECT_EQ(release.distro, c.distro);
        EXPECT_EQ(release.major, c.major) << c.distro;
        EXPECT_EQ(release.minor, c.minor) << c.distro;
        EXPECT_EQ(osinfo_id(release), c.osinfo);
        EXPECT_EQ(packaging(release).format + " " + packaging(release).management, c.packages) << c.distro;
    }
    EXPECT_EQ(parse_os_release(cases[0].text).product_name, "Debian GNU/Linux 12 (bookworm)");
}

TEST(ReleaseFiles, OlderOnes) {
    Release centos = parse_redhat_release("CentOS Linux release 7.9.2009 (Core)\n");
    EXPECT_EQ(centos.distro, "centos");
    EXPECT_EQ(centos.product_name, "CentOS Linux release 7.9.2009 (Core)");
    EXPECT_EQ(centos.major, 7);
    EXPECT_EQ(centos.minor, 9);
    EXPECT_EQ(parse_redhat_release("Red Hat Enterprise Linux Server release 6.10 (Santiago)").minor, 10);
    EXPECT_EQ(parse_lsb_release(
                  "DISTRIB_ID=Ubuntu\nDISTRIB_RELEASE=14.04\nDISTRIB_DESCRIPTION=\"Ubuntu 14.04.6 LTS\"\n")
                  .product_name,
              "Ubuntu 14.04.6 LTS");
    EXPECT_EQ(parse_debian_version("12.5\n").minor, 5);
    EXPECT_EQ(parse_debian_version("trixie/sid\n").major, 0);
    int major, minor;
    parse_version("99999999999999999999.1", major, minor);
    EXPECT_EQ(major, 999999999);
    auto values = parse_assignments("A='single $x'\n # C=no\nB=\"with \\\"quotes\\\"\"\nD=plain # comment\n");
    EXPECT_EQ(values["A"], "single $x");
    EXPECT_EQ(values["B"], "with \"quotes\"");
    EXPECT_EQ(values["D"], "plain");
    EXPECT_FALSE(values.contains("C"));
}

TEST(ReleaseFiles, Architectures) {
    struct {
        const char* description;
        const char* architecture;
    } cases[] = {
        {"ELF 64-bit LSB pie executable, x86-64, version 1 (SYSV), dynamically linked", "x86_64"},
        {"ELF 32-bit LSB executable, Intel 80386, version 1 (SYSV)", "i386"},
        {"ELF 64-bit LSB shared object, ARM aarch64, version 1 (SYSV)", "aarch64"},
        {"ELF 32-bit LSB executable, ARM, EABI5 version 1 (SYSV)", "arm"},
        {"ELF 64-bit LSB executable, 64-bit PowerPC or cisco 7500, OpenPOWER ELF V2 ABI", "ppc64le"},
        {"ELF 64-bit MSB executable, IBM S/390, version 1 (SYSV)", "s390x"},
        {"ELF 64-bit LSB pie executable, UCB RISC-V, RVC, double-float ABI", "riscv64"},
        {"POSIX shell script, ASCII text executable", ""},
    };
    for (const auto& c : cases) EXPECT_EQ(architecture_of(c.description), c.architecture);
}

}  // namespace
}  // namespace inspect::agent
