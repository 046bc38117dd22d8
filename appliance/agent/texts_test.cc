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

// What GNU chmod 9.1 made of it, under a umask of 022.
TEST(ModeExpression, AgreesWithChmod) {
    struct {
        const char* expression;
        mode_t before;
        bool directory;
        mode_t after;
    } cases[] = {
        // clang-format off
        {"0644", 00644, false, 0644},
        {"4755", 00644, false, 04755},
        {"00755", 00644, false, 0755},
        {"u+x", 00644, false, 0744},
        {"go-rwx", 00644, false, 0600},
        {"a=r", 00644, false, 0444},
        {"u=rw,go=r", 00644, false, 0644},
        {"+x", 00644, false, 0755},
        {"-w", 00644, false, 0444},
        {"=rx", 00644, false, 0555},
        {"a+X", 00644, false, 0644},
        {"g+s", 00644, false, 02644},
        {"u+s,g-s", 00644, false, 04644},
        {"o+t", 00644, false, 01644},
        {"+t", 00644, false, 01644},
        {"g=u", 00644, false, 0664},
        {"o=g-w", 00644, false, 0644},
        {"u=rwx,g=u-w,o=", 00644, false, 0750},
        {"go=", 00644, false, 0600},
        {"=", 00644, false, 00},
        {"g=s", 00644, false, 02604},
        {"u+xs,o=t", 00644, false, 05740},
        {"0644", 02755, false, 0644},
        {"4755", 02755, false, 04755},
        {"00755", 02755, false, 0755},
        {"u+x", 02755, false, 02755},
        {"go-rwx", 02755, false, 02700},
        {"a=r", 02755, false, 0444},
        {"u=rw,go=r", 02755, false, 0644},
        {"+x", 02755, false, 02755},
        {"-w", 02755, false, 02555},
        {"=rx", 02755, false, 0555},
        {"a+X", 02755, false, 02755},
        {"g+s", 02755, false, 02755},
        {"u+s,g-s", 02755, false, 04755},
        {"o+t", 02755, false, 03755},
        {"+t", 02755, false, 03755},
        {"g=u", 02755, false, 0775},
        {"o=g-w", 02755, false, 02755},
        {"u=rwx,g=u-w,o=", 02755, false, 0750},
        {"go=", 02755, false, 0700},
        {"=", 02755, false, 00},
        {"g=s", 02755, false, 02705},
        {"u+xs,o=t", 02755, false, 07750},
        {"0644", 01700, false, 0644},
        {"4755", 01700, false, 04755},
        {"00755", 01700, false, 0755},
        {"u+x", 01700, false, 01700},
        {"go-rwx", 01700, false, 01700},
        {"a=r", 01700, false, 0444},
        {"u=rw,go=r", 01700, false, 0644},
        {"+x", 01700, false, 01711},
        {"-w", 01700, false, 01500},
        {"=rx", 01700, false, 0555},
        {"a+X", 01700, false, 01711},
        {"g+s", 01700, false, 03700},
        {"u+s,g-s", 01700, false, 05700},
        {"o+t", 01700, false, 01700},
        {"+t", 01700, false, 01700},
        {"g=u", 01700, false, 01770},
        {"o=g-w", 01700, false, 0700},
        {"u=rwx,g=u-w,o=", 01700, false, 0750},
        {"go=", 01700, false, 0700},
        {"=", 01700, false, 00},
        {"g=s", 01700, false, 03700},
        {"u+xs,o=t", 01700, false, 05700},
        {"0644", 00644, true, 0644},
        {"4755", 00644, true, 04755},
        {"00755", 00644, true, 0755},
        {"u+x", 00644, true, 0744},
        {"go-rwx", 00644, true, 0600},
        {"a=r", 00644, true, 0444},
        {"u=rw,go=r", 00644, true, 0644},
        {"+x", 00644, true, 0755},
        {"-w", 00644, true, 0444},
        {"=rx", 00644, true, 0555},
        {"a+X", 00644, true, 0755},
        {"g+s", 00644, true, 02644},
        {"u+s,g-s", 00644, true, 04644},
        {"o+t", 00644, true, 01644},
        {"+t", 00644, true, 01644},
        {"g=u", 00644, true, 0664},
        {"o=g-w", 00644, true, 0644},
        {"u=rwx,g=u-w,o=", 00644, true, 0750},
        {"go=", 00644, true, 0600},
        {"=", 00644, true, 00},
        {"g=s", 00644, true, 02604},
        {"u+xs,o=t", 00644, true, 05740},
        {"0644", 02755, true, 02644},
        {"4755", 02755, true, 06755},
        {"00755", 02755, true, 0755},
        {"u+x", 02755, true, 02755},
        {"go-rwx", 02755, true, 02700},
        {"a=r", 02755, true, 02444},
        {"u=rw,go=r", 02755, true, 02644},
        {"+x", 02755, true, 02755},
        {"-w", 02755, true, 02555},
        {"=rx", 02755, true, 02555},
        {"a+X", 02755, true, 02755},
        {"g+s", 02755, true, 02755},
        {"u+s,g-s", 02755, true, 04755},
        {"o+t", 02755, true, 03755},
        {"+t", 02755, true, 03755},
        {"g=u", 02755, true, 02775},
        {"o=g-w", 02755, true, 02755},
        {"u=rwx,g=u-w,o=", 02755, true, 02750},
        {"go=", 02755, true, 02700},
        {"=", 02755, true, 02000},
        {"g=s", 02755, true, 02705},
        {"u+xs,o=t", 02755, true, 07750},
        {"0644", 01700, true, 0644},
        {"4755", 01700, true, 04755},
        {"00755", 01700, true, 0755},
        {"u+x", 01700, true, 01700},
        {"go-rwx", 01700, true, 01700},
        {"a=r", 01700, true, 0444},
        {"u=rw,go=r", 01700, true, 0644},
        {"+x", 01700, true, 01711},
        {"-w", 01700, true, 01500},
        {"=rx", 01700, true, 0555},
        {"a+X", 01700, true, 01711},
        {"g+s", 01700, true, 03700},
        {"u+s,g-s", 01700, true, 05700},
        {"o+t", 01700, true, 01700},
        {"+t", 01700, true, 01700},
        {"g=u", 01700, true, 01770},
        {"o=g-w", 01700, true, 0700},
        {"u=rwx,g=u-w,o=", 01700, true, 0750},
        {"go=", 01700, true, 0700},
        {"=", 01700, true, 00},
        {"g=s", 01700, true, 03700},
        {"u+xs,o=t", 01700, true, 05700},
        // clang-format on
    };
    for (const auto& c : cases) {
        EXPECT_EQ(ModeExpression(c.expression).apply(c.before | (c.directory ? S_IFDIR : S_IFREG)), c.after)
            << c.expression << " on " << std::oct << c.before << (c.directory ? " directory" : " file");
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
        bool wide;
        bool little;
        unsigned machine;
        const char* architecture;
    } cases[] = {
        {true, true, 62, "x86_64"},   {false, true, 3, "i386"},    {true, true, 183, "aarch64"},
        {false, true, 40, "arm"},     {true, true, 21, "ppc64le"}, {true, false, 22, "s390x"},
        {true, true, 243, "riscv64"}, {false, false, 8, "mips"},   {true, true, 0x7777, ""},
    };
    for (const auto& c : cases) {
        std::string start(20, '\0');
        start.replace(0, 4,
                      "\x7f"
                      "ELF");
        start[4] = c.wide ? 2 : 1;
        start[5] = c.little ? 1 : 2;
        start[c.little ? 18 : 19] = static_cast<char>(c.machine & 0xff);
        start[c.little ? 19 : 18] = static_cast<char>(c.machine >> 8);
        EXPECT_EQ(architecture_of(start), c.architecture);
        EXPECT_EQ(architecture_of(start.substr(0, 19)), "");
    }
    EXPECT_EQ(architecture_of("#!/bin/sh\necho this is no program of a processor\n"), "");
}

}  // namespace
}  // namespace inspect::agent
