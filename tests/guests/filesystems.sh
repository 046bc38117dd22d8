# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Guests that are a file system alone, and disks with every kind of partition table. Uses lib.sh.

# A whole-disk ext2 file system
guest_ext2() { plain_tree tree && ext ext2 "$1" 8 1 e2 tree; }
# A whole-disk ext3 file system
guest_ext3() { plain_tree tree && ext ext3 "$1" 8 2 e3 tree; }
# A whole-disk ext4 file system
guest_ext4() { plain_tree tree && ext ext4 "$1" 8 3 e4 tree; }
# A whole-disk XFS
guest_xfs() { plain_tree tree && protofile "$PWD/tree" >proto && xfs "$1" 32 4 xlabel proto; }
# A whole-disk FAT32 file system
guest_vfat() { plain_tree tree && vfat "$1" 34 1234ABCD FATLABEL "$PWD/tree"; }
# An ext4 file system of 4 MiB with some 100 KiB left
guest_full() {
    mkdir tree
    head -c 2200000 /dev/zero | tr '\0' x >tree/filler
    printf 'small\n' >tree/small.txt
    ext ext4 "$1" 4 5 full tree
}
# ext4 with a file of 32 MiB of numbers, for copying and for reading in blocks
guest_large() {
    mkdir tree
    perl -e 'printf "%015d\n", $_ for 1 .. 2 * 1024 * 1024' >tree/large
    ext ext4 "$1" 64 6 large tree -b 4096
}

# MBR: primary ext4 (sda1), extended (sda2), logical ext2 (sda5), logical vfat (sda6)
guest_mbr() {
    mbr "$1" 40 0xfeedbeef <<END
start=1MiB,  size=8MiB,  type=83
start=9MiB,  size=31MiB, type=5
start=10MiB, size=8MiB,  type=83
start=19MiB, size=8MiB,  type=c
END
    plain_tree tree
    ext ext4 p1 8 11 primary tree && put p1 "$1" 1
    ext ext2 p5 8 15 logical tree && put p5 "$1" 10
    vfat p6 8 00001016 DOSFAT "$PWD/tree" && put p6 "$1" 19
}

# GPT: ext4 (sda1), vfat (sda2), swap (sda3), a gap in the numbers, XFS (sda5), an empty partition (sda6)
guest_gpt() {
    gpt "$1" 80 20 <<END
1 : start=1MiB,  size=8MiB,  type=$linux_data, uuid=$(uuid 21), name="first ü"
2 : start=9MiB,  size=8MiB,  type=$efi_system, uuid=$(uuid 22)
3 : start=17MiB, size=4MiB,  type=$linux_swap, uuid=$(uuid 23)
5 : start=21MiB, size=32MiB, type=$linux_data, uuid=$(uuid 25)
6 : start=53MiB, size=4MiB,  type=$linux_data, uuid=$(uuid 26)
END
    plain_tree tree
    ext ext4 p1 8 31 gpt-ext4 tree && put p1 "$1" 1
    vfat p2 8 00002022 ESP "$PWD/tree" && put p2 "$1" 9
    truncate -s 4M p3 && mkswap -q -U "$(uuid 33)" -L swappy p3 && put p3 "$1" 17
    protofile "$PWD/tree" >proto && xfs p5 32 35 gpt-xfs proto && put p5 "$1" 21
}

# GPT on 4096-byte sectors: ext4 (sda1), vfat (sda2)
guest_gpt_4k() {
    truncate -s 56M "$1"
    # sfdisk has no option for the sector size of an image, but fdisk does, and reads sfdisk's scripts.
    cat >table <<END
label: gpt
label-id: $(uuid 40)
sector-size: 4096
start=256,  size=4096, type=$linux_data, uuid=$(uuid 41)
start=4352, size=8192, type=$efi_system, uuid=$(uuid 42)
END
    printf 'I
table
w
' | fdisk -b 4096 -w always "$1"
    plain_tree tree
    ext ext4 p1 16 43 four-k tree -b 4096
    put p1 "$1" 1
    vfat p2 32 00004044 FOURK "$PWD/tree" 4096
    put p2 "$1" 17
}
