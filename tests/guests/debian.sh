# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Real Debian 12 guests, from the trees that bootstrap.sh makes. No root needed: what has to see the right owners
# runs under fakeroot. Uses lib.sh.

# with_tree ARCHIVE FUNCTION ARGUMENTS...: unpacks the archive in tree/ and calls the function, both as root or as if.
with_tree() {
    local commands="set -euo pipefail; source '$here/lib.sh'; source '$here/debian.sh'; \
mkdir tree; tar -xf '$1' -C tree --exclude='./dev/*' --numeric-owner; shift; \"\$@\""
    if [ "$(id -u)" -eq 0 ]; then bash -c "$commands" bash "$@"; else fakeroot -- bash -c "$commands" bash "$@"; fi
}

# settle HOSTNAME ROOT-UUID ROOT-TYPE: what an installer would have written.
settle() {
    echo "$1" >tree/etc/hostname
    printf '127.0.0.1\tlocalhost\n127.0.1.1\t%s\n' "$1" >tree/etc/hosts
    mkdir -p tree/boot/efi
    cat >tree/etc/fstab <<END
# <file system> <mount point> <type> <options> <dump> <pass>
UUID=$2 / $3 errors=remount-ro 0 1
UUID=EF10-0001 /boot/efi vfat umask=0077 0 1
END
    [ "$3" != xfs ] || sed -i 's/errors=remount-ro/defaults/' tree/etc/fstab
}

# disk FILE SIZE_MIB ID: GPT with an EFI system partition of 64 MiB; the file system in ./root becomes the second one.
disk() {
    gpt "$1" "$2" "$3" <<END
start=1MiB, size=64MiB, type=$efi_system, uuid=$(uuid $(($3 + 1)))
start=65MiB, size=$(($2 - 66))MiB, type=$linux_data, uuid=$(uuid $(($3 + 2)))
END
    mkdir -p esp/EFI/debian
    echo 'search.fs_uuid root' >esp/EFI/debian/grub.cfg
    vfat efi 64 EF100001 EFI "$PWD/esp"
    put efi "$1" 1
    put root "$1" 65
}

ext4_disk() {  # FILE SIZE_MIB ID HOSTNAME
    settle "$4" "$(uuid $(($3 + 3)))" ext4
    # As Debian's installer makes it.
    env -u MKE2FS_CONFIG mke2fs -q -F -t ext4 -U "$(uuid $(($3 + 3)))" -E "hash_seed=$(uuid 99)" -d tree root $(($2 - 66))M
    disk "$1" "$2" "$3"
}
xfs_disk() {  # FILE SIZE_MIB ID HOSTNAME
    settle "$4" "$(uuid $(($3 + 3)))" xfs
    protofile "$PWD/tree" >proto
    truncate -s $(($2 - 66))M root
    mkfs.xfs -q -m "uuid=$(uuid $(($3 + 3)))" -p proto root
    disk "$1" "$2" "$3"
}

# A real Debian 12 as the installer leaves it: GPT, ESP, ext4 root of 2 GiB
guest_debian12() { with_tree "$(guest debian12-tar)" ext4_disk "$1" 2048 100 debian-guest; }
# A minimal Debian 12 for quickstart: GPT, ESP, ext4 root
guest_debian12_small() { with_tree "$(guest debian12-small-tar)" ext4_disk "$1" 1024 110 quickstart; }
# A minimal Debian 12 with an XFS root: GPT, ESP
guest_debian12_xfs() { with_tree "$(guest debian12-small-tar)" xfs_disk "$1" 1024 120 xfs-guest; }
