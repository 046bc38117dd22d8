# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Guests with the tree of an operating system: a few files each, with what inspection looks at. Uses lib.sh.

# Debian on GPT; fstab by UUID, LABEL, PARTUUID, device name, and with lines that name what isn't there
guest_fake_debian() {
    gpt "$1" 48 50 <<END
start=1MiB,  size=16MiB, type=$linux_data, uuid=$(uuid 51)
start=17MiB, size=8MiB,  type=$linux_data, uuid=$(uuid 52)
start=25MiB, size=8MiB,  type=$linux_data, uuid=$(uuid 53)
start=33MiB, size=8MiB,  type=$linux_data, uuid=$(uuid 54)
END
    debian_tree root <<END
# <file system> <mount point> <type> <options> <dump> <pass>
UUID=$(uuid 61)	/	ext4	errors=remount-ro	0	1
LABEL=boot	/boot	ext2	defaults	0	2
PARTUUID=$(uuid 53)	/home	ext4	nodev,nosuid	0	2
/dev/vda4	/srv\\040data	ext4	noatime	0	2
UUID=$(uuid 98)	/gone	ext4	defaults	0	2
UUID=$(uuid 97)	/may-be-gone	ext4	nofail	0	2
/dev/sr0	/media/cdrom0	udf,iso9660	user,noauto	0	0
proc	/proc	proc	defaults	0	0
tmpfs	/tmp	tmpfs	size=1g	0	0
END
    mkdir "root/srv data" root/gone
    ln -s /etc/hostname root/absolute-link
    ln -s ../../../../../../etc/hostname root/escaping-link
    ln -s /boot/vmlinuz root/vmlinuz
    ext ext4 p1 16 61 root root && put p1 "$1" 1
    mkdir -p boot && echo kernel >boot/vmlinuz && ext ext2 p2 8 62 boot boot && put p2 "$1" 17
    mkdir -p home/alice && echo "alice's" >home/alice/notes && ext ext4 p3 8 63 home home && put p3 "$1" 25
    mkdir -p srv && echo served >srv/file && ext ext4 p4 8 64 srv srv && put p4 "$1" 33
}

# Fedora for AArch64 on one XFS without a partition table
guest_fake_fedora() {
    fedora_tree root </dev/null
    echo "UUID=$(uuid 71) / xfs defaults 0 0" >root/etc/fstab
    protofile "$PWD/root" >proto && xfs "$1" 32 71 fedora proto
}

# Two operating systems: Debian on sda1, Fedora on sda2
guest_two_roots() {
    gpt "$1" 36 80 <<END
start=1MiB,  size=16MiB, type=$linux_data, uuid=$(uuid 81)
start=17MiB, size=16MiB, type=$linux_data, uuid=$(uuid 82)
END
    echo "UUID=$(uuid 83) / ext4 defaults 0 1" | debian_tree one
    echo "UUID=$(uuid 84) / ext4 defaults 0 1" | fedora_tree two
    ext ext4 p1 16 83 one one && put p1 "$1" 1
    ext ext4 p2 16 84 two two && put p2 "$1" 17
}

# A guest over two disks: this one has the root; second-disk has /home, which fstab names /dev/sdb1
guest_first_disk() {
    printf 'UUID=%s / ext4 defaults 0 1\n/dev/sdb1 /home ext4 defaults 0 2\n' "$(uuid 91)" | debian_tree root
    ext ext4 "$1" 16 91 root root
}
# The second disk of first-disk, MBR
guest_second_disk() {
    mbr "$1" 10 0x0b0b0b0b <<<'start=1MiB, size=8MiB, type=83'
    printf 'label: dos\nlabel-id: 0x0b0b0b0b\nstart=2048, size=16384, type=83\n' | sfdisk -q "$1"
    mkdir -p home/bob && echo "bob's" >home/bob/notes && ext ext4 p1 8 92 home home && put p1 "$1" 1
}
