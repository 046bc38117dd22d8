# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Disks to be resized: layouts that other tools have trouble with. Uses lib.sh.

# Ubuntu's cloud layout: root is sda1 but last on the disk, up to its end; sda14 BIOS boot, sda15 vfat
guest_cloud() {
    gpt "$1" 48 60 <<END
14 : start=1MiB, size=1MiB, type=21686148-6449-6E6F-744E-656564454649, uuid=$(uuid 64)
15 : start=2MiB, size=8MiB, type=$efi_system, uuid=$(uuid 65)
1 : start=10MiB, type=$linux_data, uuid=$(uuid 61), name="root", attrs="LegacyBIOSBootable"
END
    mkdir tree && printf 'hello, guest\n' >tree/hello.txt
    ext ext4 p1 37 61 cloudimg-rootfs tree && put p1 "$1" 10
    vfat p15 8 00006565 UEFI && put p15 "$1" 2
}

# MBR: ext4 (sda1), extended (sda2) with ext4 (sda5) and swap (sda6) in it
guest_mbr_swap() {
    mbr "$1" 40 0x0badcafe <<END
1 : start=1MiB,  size=9MiB,  type=83, bootable
2 : start=10MiB, size=30MiB, type=5
5 : start=11MiB, size=16MiB, type=83
6 : start=28MiB, size=12MiB, type=82
END
    mkdir tree && printf 'hello, guest\n' >tree/hello.txt
    ext ext4 p1 9 71 primary tree && put p1 "$1" 1
    ext ext4 p5 16 75 logical tree && put p5 "$1" 11
    truncate -s 12M p6 && mkswap -q -U "$(uuid 76)" -L swappy p6 && put p6 "$1" 28
}
