# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Guests on storage stacks: LVM, LUKS, md, btrfs, and file systems that only the appliance can make without root. Made
# after the build, with the insp of it (./make --built). Uses lib.sh. The key of all that is encrypted is "guest-key".

insp=${INSP_PROGRAM:-$here/../../build/bin/insp}
guest_key=guest-key

# appliance SCRIPT DISK...: the script in the appliance, on the disks as /dev/sda, /dev/sdb...; changes are kept.
appliance() {
    local script=$1 disks=() disk
    shift
    for disk in "$@"; do disks+=(--format=raw -a "$disk"); done
    "$insp" run -q --rw --engine="${INSP_ENGINE:-qemu}" --memory=256 "${disks[@]}" -- /bin/sh -ec "$script"
}

# Two partitions: /boot (ext2, 4 MiB) and the rest, of type $2 in a disk of $3 MiB.
boot_and_rest() {
    gpt "$1" "$3" 40 <<END
1 : start=1MiB, size=4MiB, type=$linux_data, uuid=$(uuid 41)
2 : start=5MiB, type=$2, uuid=$(uuid 42)
END
    mkdir boot-tree && echo kernel >boot-tree/vmlinuz
    ext ext2 boot 4 43 boot boot-tree && put boot "$1" 1
}
linux_lvm=E6D6D379-F507-44C2-A23C-238F2A3DF928
linux_raid=A19D880F-05FC-4D3B-A006-743F0F84911E

# root and home: file systems of 8 and 4 MiB in the files of that name, of a Debian with fstab from stdin.
root_and_home() {
    debian_tree tree
    [ ! -e crypttab ] || mv crypttab tree/etc/crypttab
    ext ext4 root 8 44 root tree
    mkdir -p home-tree/alice && echo notes >home-tree/alice/notes.txt
    ext ext4 home 4 45 home home-tree
}

# LVM as Debian's installer makes it: /boot on sda1, debian-vg with root, home and swap_1 on sda2
guest_lvm() {
    boot_and_rest "$1" "$linux_lvm" 32
    root_and_home <<END
/dev/mapper/debian--vg-root / ext4 errors=remount-ro 0 1
UUID=$(uuid 43) /boot ext2 defaults 0 2
/dev/debian-vg/home /home ext4 defaults 0 2
/dev/mapper/debian--vg-swap_1 none swap sw 0 0
END
    appliance '
        pvcreate -qq --dataalignment 64k --metadatasize 64k /dev/sda2
        vgcreate -qq -s 1m debian-vg /dev/sda2
        lvcreate -qq -Zn -Wn -L 8m -n root debian-vg
        lvcreate -qq -Zn -Wn -L 4m -n home debian-vg
        lvcreate -qq -Zn -Wn -L 2m -n swap_1 debian-vg
        dd if=/dev/sdb of=/dev/debian-vg/root bs=1M
        dd if=/dev/sdc of=/dev/debian-vg/home bs=1M
        mkswap /dev/debian-vg/swap_1
        vgchange -qq -an' "$1" root home
}

# As lvm, with another volume group of the same name
guest_lvm_twin() { guest_lvm "$1"; }

# LVM with a striped, a mirrored, a thin volume and snapshots of both kinds, on three partitions
guest_lvm_kinds() {
    gpt "$1" 128 50 <<END
1 : start=1MiB,  size=40MiB, type=$linux_lvm, uuid=$(uuid 51)
2 : start=41MiB, size=40MiB, type=$linux_lvm, uuid=$(uuid 52)
3 : start=81MiB, size=40MiB, type=$linux_lvm, uuid=$(uuid 53)
END
    plain_tree tree
    ext ext4 fs 8 54 kinds tree
    appliance '
        pvcreate -qq /dev/sda1 /dev/sda2 /dev/sda3
        vgcreate -qq -s 1m vg /dev/sda1 /dev/sda2 /dev/sda3
        lvcreate -qq -Zn -Wn -i 2 -I 64k -L 8m -n striped vg
        lvcreate -qq -y -Zn -Wn --type raid1 --nosync -m 1 -L 8m -n mirrored vg
        lvcreate -qq -y -Zn -L 16m --poolmetadatasize 2m -T vg/pool
        lvcreate -qq -y -Wn -V 8m -T vg/pool -n thin
        for lv in striped mirrored thin; do dd if=/dev/sdb of=/dev/vg/$lv bs=1M; done
        lvcreate -qq -y -s -L 4m -n striped-snap vg/striped
        lvcreate -qq -y -s -n thin-snap vg/thin
        mount /dev/vg/striped /sysroot && echo later >/sysroot/hello.txt && umount /sysroot
        vgchange -qq -an' "$1" fs
}

# format_luks DEVICE UUID-NUMBER [CRYPTSETUP-OPTION...]: for the appliance's script
luks1='cryptsetup -q luksFormat --type luks1 --pbkdf-force-iterations 1000 --key-file=-'
luks2='cryptsetup -q luksFormat --type luks2 --luks2-metadata-size 16k --luks2-keyslots-size 256k
       --pbkdf-force-iterations 4 --pbkdf-parallel 1 --key-file=-'

# LUKS2 with argon2id (2 MiB): /boot on sda1, root on sda2, which the guest calls sda2_crypt
guest_luks() {
    boot_and_rest "$1" "$linux_data" 24
    echo "sda2_crypt UUID=$(uuid 46) none luks,discard" >crypttab
    root_and_home <<END
/dev/mapper/sda2_crypt / ext4 errors=remount-ro 0 1
UUID=$(uuid 43) /boot ext2 defaults 0 2
END
    appliance "
        printf %s $guest_key | $(echo $luks2) --pbkdf argon2id --pbkdf-memory 2048 --uuid $(uuid 46) /dev/sda2
        printf %s $guest_key | cryptsetup open --key-file=- /dev/sda2 c
        dd if=/dev/sdb of=/dev/mapper/c bs=1M
        cryptsetup close c" "$1" root
}

# LUKS2 with argon2id that wants 128 MiB, more than the appliance has by itself; ext4 without a system
guest_luks_argon2() {
    plain_tree tree && ext ext4 fs 4 47 secret tree
    truncate -s 8M "$1"
    "$insp" run -q --rw --engine="${INSP_ENGINE:-qemu}" --memory=400 --format=raw -a "$1" -a fs -- /bin/sh -ec "
        printf %s $guest_key | $(echo $luks2) --pbkdf argon2id --pbkdf-memory 131072 --uuid $(uuid 48) /dev/sda
        printf %s $guest_key | cryptsetup open --key-file=- /dev/sda c
        dd if=/dev/sdb of=/dev/mapper/c bs=1M
        cryptsetup close c"
}

# Encrypted LVM as Debian's and Ubuntu's installers make it: LUKS1 on sda2, on it the group ubuntu-vg
guest_lvm_on_luks() {
    boot_and_rest "$1" "$linux_data" 32
    echo "dm_crypt-0 UUID=$(uuid 49) none luks" >crypttab
    root_and_home <<END
/dev/mapper/ubuntu--vg-ubuntu--lv / ext4 defaults 0 1
UUID=$(uuid 43) /boot ext2 defaults 0 2
/dev/ubuntu-vg/home /home ext4 defaults 0 2
END
    appliance "
        printf %s $guest_key | $(echo $luks1) --uuid $(uuid 49) /dev/sda2
        printf %s $guest_key | cryptsetup open --key-file=- /dev/sda2 c
        pvcreate -qq --dataalignment 64k --metadatasize 64k /dev/mapper/c
        vgcreate -qq -s 1m ubuntu-vg /dev/mapper/c
        lvcreate -qq -Zn -Wn -L 8m -n ubuntu-lv ubuntu-vg
        lvcreate -qq -Zn -Wn -L 4m -n home ubuntu-vg
        dd if=/dev/sdb of=/dev/ubuntu-vg/ubuntu-lv bs=1M
        dd if=/dev/sdc of=/dev/ubuntu-vg/home bs=1M
        vgchange -qq -an
        cryptsetup close c" "$1" root home
}

# A logical volume that is encrypted by itself, as Fedora's installer can make it: LUKS2 on /dev/fedora/root
guest_luks_on_lvm() {
    boot_and_rest "$1" "$linux_lvm" 32
    root_and_home <<END
/dev/mapper/luks-$(uuid 55) / ext4 defaults,x-systemd.device-timeout=0 0 0
UUID=$(uuid 43) /boot ext2 defaults 1 2
/dev/mapper/fedora-home /home ext4 defaults 1 2
END
    appliance "
        pvcreate -qq --dataalignment 64k --metadatasize 64k /dev/sda2
        vgcreate -qq -s 1m fedora /dev/sda2
        lvcreate -qq -y -Zn -Wn -L 10m -n root fedora
        lvcreate -qq -y -Zn -Wn -L 4m -n home fedora
        printf %s $guest_key | $(echo $luks2) --pbkdf pbkdf2 --pbkdf-force-iterations 1000 --uuid $(uuid 55) /dev/fedora/root
        printf %s $guest_key | cryptsetup open --key-file=- /dev/fedora/root c
        dd if=/dev/sdb of=/dev/mapper/c bs=1M
        dd if=/dev/sdc of=/dev/fedora/home bs=1M
        cryptsetup close c
        vgchange -qq -an" "$1" root home
}

# md: root on a RAID 1 (sda1, sda2) named md0, /home on a RAID 5 (sda3, sda4, sda5) named home
guest_md() {
    gpt "$1" 64 60 <<END
1 : start=1MiB,  size=10MiB, type=$linux_raid, uuid=$(uuid 61)
2 : start=11MiB, size=10MiB, type=$linux_raid, uuid=$(uuid 62)
3 : start=21MiB, size=6MiB, type=$linux_raid, uuid=$(uuid 63)
4 : start=27MiB, size=6MiB, type=$linux_raid, uuid=$(uuid 64)
5 : start=33MiB, size=6MiB, type=$linux_raid, uuid=$(uuid 65)
END
    root_and_home <<END
/dev/md0 / ext4 defaults 0 1
/dev/md/home /home ext4 defaults 0 2
END
    appliance '
        modprobe raid1; modprobe raid456
        mdadm -q --create /dev/md0 --run --metadata=1.2 --homehost=guest --name=0 --assume-clean --bitmap=none --data-offset=1M \
            --uuid=00000060:00000000:00000000:00000001 --level=1 --raid-devices=2 /dev/sda1 /dev/sda2
        mdadm -q --create /dev/md5 --run --metadata=1.2 --homehost=guest --name=home --assume-clean --bitmap=none --data-offset=1M \
            --uuid=00000060:00000000:00000000:00000005 --level=5 --chunk=64 --raid-devices=3 /dev/sda3 /dev/sda4 /dev/sda5
        dd if=/dev/sdb of=/dev/md0 bs=1M
        dd if=/dev/sdc of=/dev/md5 bs=1M
        mdadm -q --stop /dev/md0 /dev/md5' "$1" root home
}

# As md, without the second member of each array
guest_md_degraded() {
    guest_md "$1"
    dd if=/dev/zero of="$1" bs=1M seek=11 count=10 conv=notrunc status=none
    dd if=/dev/zero of="$1" bs=1M seek=27 count=6 conv=notrunc status=none
}

# LVM on a RAID 10 of four partitions whose metadata is at their end (1.0)
guest_lvm_on_md() {
    gpt "$1" 64 66 <<END
1 : start=1MiB,  size=12MiB, type=$linux_raid, uuid=$(uuid 67)
2 : start=13MiB, size=12MiB, type=$linux_raid, uuid=$(uuid 68)
3 : start=25MiB, size=12MiB, type=$linux_raid, uuid=$(uuid 69)
4 : start=37MiB, size=12MiB, type=$linux_raid, uuid=$(uuid 70)
END
    root_and_home <<END
/dev/mapper/vg0-root / ext4 defaults 0 1
LABEL=home /home ext4 defaults 0 2
END
    appliance '
        modprobe raid10
        mdadm -q --create /dev/md127 --run --metadata=1.0 --homehost=guest --name=pv --assume-clean --bitmap=none \
            --uuid=00000066:00000000:00000000:00000001 --level=10 --chunk=64 --raid-devices=4 /dev/sda1 /dev/sda2 /dev/sda3 /dev/sda4
        pvcreate -qq --dataalignment 64k --metadatasize 64k /dev/md127
        vgcreate -qq -s 1m vg0 /dev/md127
        lvcreate -qq -Zn -Wn -L 8m -n root vg0
        lvcreate -qq -Zn -Wn -L 4m -n home vg0
        dd if=/dev/sdb of=/dev/vg0/root bs=1M
        dd if=/dev/sdc of=/dev/vg0/home bs=1M
        vgchange -qq -an
        mdadm -q --stop /dev/md127' "$1" root home
}

# btrfs_tree FSTAB-ROOT-OPTIONS FSTAB-HOME-OPTIONS: the file "tree.tar" of a Debian with /home/alice on btrfs.
btrfs_tree() {
    debian_tree tree <<END
UUID=$(uuid 71) / btrfs $1 0 0
UUID=$(uuid 71) /home btrfs $2 0 0
END
    mkdir -p tree/home/alice && echo notes >tree/home/alice/notes.txt
    tar -C tree --sort=name --owner=0 --group=0 --mtime="@$SOURCE_DATE_EPOCH" -cf tree.tar .
}

# make_btrfs DISK ROOT-SUBVOLUME HOME-SUBVOLUME COMMANDS: on sda1, from tree.tar; then COMMANDS, with the top at /sysroot.
make_btrfs() {
    gpt "$1" 130 72 <<END
1 : start=1MiB, type=$linux_data, uuid=$(uuid 73)
END
    appliance "
        mkfs.btrfs -q -f -M -U $(uuid 71) -L btr /dev/sda1
        mount /dev/sda1 /sysroot
        btrfs -q subvolume create /sysroot/$2
        btrfs -q subvolume create /sysroot/$3
        tar -xf - -C /sysroot/$2 </dev/sdb
        mv /sysroot/$2/home/* /sysroot/$3/
        $4
        umount /sysroot" "$1" tree.tar
}

# btrfs as Ubuntu's installer makes it: subvolumes @ and @home, and a snapshot of @
guest_btrfs() {
    btrfs_tree defaults,subvol=@ defaults,subvol=@home
    make_btrfs "$1" @ @home 'btrfs -q subvolume snapshot -r /sysroot/@ /sysroot/@snapshot'
}

# btrfs as Fedora's installer makes it: subvolumes root and home
guest_btrfs_fedora() {
    btrfs_tree subvol=root,compress=zstd:1 subvol=home,compress=zstd:1
    make_btrfs "$1" root home :
}

# btrfs as SUSE's installer makes it: the root is the default subvolume, a snapshot
guest_btrfs_suse() {
    btrfs_tree defaults subvol=/@/home
    make_btrfs "$1" @ @/home2 '
        btrfs -q subvolume create /sysroot/@/.snapshots; mkdir /sysroot/@/.snapshots/1
        btrfs -q subvolume snapshot /sysroot/@ /sysroot/@/.snapshots/1/snapshot
        rm -rf /sysroot/@/etc /sysroot/@/home; mv /sysroot/@/home2 /sysroot/@/home
        rmdir /sysroot/@/.snapshots/1/snapshot/home2 2>/dev/null || true
        btrfs -q subvolume set-default /sysroot/@/.snapshots/1/snapshot'
}

# btrfs over two partitions (RAID 1), subvolumes @ and @home
guest_btrfs_raid1() {
    btrfs_tree defaults,subvol=@ defaults,subvol=@home
    gpt "$1" 260 74 <<END
1 : start=1MiB,   size=128MiB, type=$linux_data, uuid=$(uuid 75)
2 : start=130MiB, size=128MiB, type=$linux_data, uuid=$(uuid 76)
END
    appliance "
        mkfs.btrfs -q -f -d raid1 -m raid1 -U $(uuid 71) -L btr /dev/sda1 /dev/sda2
        mount -o device=/dev/sda2 /dev/sda1 /sysroot
        btrfs -q subvolume create /sysroot/@
        btrfs -q subvolume create /sysroot/@home
        tar -xf - -C /sysroot/@ </dev/sdb
        mv /sysroot/@/home/* /sysroot/@home/
        umount /sysroot" "$1" tree.tar
}

# fill TYPE: a command for the appliance that mounts /dev/sda as TYPE and copies the tree of tree.tar (/dev/sdb) to it.
fill() { echo "mount -t $1 /dev/sda /sysroot; tar -xf - --no-same-owner -C /sysroot </dev/sdb; umount /sysroot"; }
fill_ntfs='ntfs-3g /dev/sda /sysroot; tar -xf - --no-same-owner -C /sysroot </dev/sdb; umount /sysroot'
plain_tar() {
    plain_tree tree
    tar -C tree --sort=name --owner=0 --group=0 --mtime="@$SOURCE_DATE_EPOCH" -cf tree.tar .
}

# A whole-disk NTFS
guest_ntfs() {
    plain_tar && truncate -s 16M "$1"
    appliance "mkntfs -q -F -Q -L ntfslabel /dev/sda; $fill_ntfs" "$1" tree.tar
}
# NTFS that was not unmounted: its dirty flag is set
guest_ntfs_dirty() {
    guest_ntfs "$1"
    # In the record of $Volume, the fourth of the MFT and of its mirror, the attribute 0x70 ends with the flags.
    perl -e '
        open(my $disk, "+<", shift) or die; local $/;
        my $data = <$disk>;
        my ($sector, $cluster) = (unpack("S<", substr($data, 11)), ord substr($data, 13, 1));
        for my $mft (unpack("Q<2", substr($data, 48))) {
            my $record = $mft * $cluster * $sector + 3 * 1024;
            my $at = $record + unpack("S<", substr($data, $record + 20));
            $at += unpack("L<", substr($data, $at + 4)) while unpack("L<", substr($data, $at)) != 0x70;
            seek($disk, $at + unpack("S<", substr($data, $at + 20)) + 10, 0); print $disk "\1";
        }' "$1"
}
# NTFS on which Windows is hibernated
guest_ntfs_hibernated() {
    plain_tar && truncate -s 16M "$1"
    perl -e 'print "hibr", "\0" x 8188' >tree/hiberfil.sys
    tar -C tree --sort=name --owner=0 --group=0 --mtime="@$SOURCE_DATE_EPOCH" -cf tree.tar .
    appliance "mkntfs -q -F -Q /dev/sda; $fill_ntfs" "$1" tree.tar
}
# A whole-disk F2FS
guest_f2fs() {
    plain_tar && truncate -s 64M "$1"
    appliance "mkfs.f2fs -q -l f2label -U $(uuid 80) /dev/sda; $(fill f2fs)" "$1" tree.tar
}
# A whole-disk exFAT
guest_exfat() {
    plain_tar && truncate -s 16M "$1"
    appliance "mkfs.exfat -L exlabel /dev/sda; $(fill exfat)" "$1" tree.tar
}
# A whole-disk UDF
guest_udf() {
    plain_tar && truncate -s 16M "$1"
    appliance "mkudffs -q -b 512 -l udflabel /dev/sda 2>/dev/null || mkudffs -b 512 -l udflabel /dev/sda; $(fill udf)" "$1" tree.tar
}
# A whole-disk XFS in the format before version 5 (without checksums)
guest_xfs_v4() {
    plain_tar && truncate -s 32M "$1"
    appliance "mkfs.xfs -q -f --unsupported -m crc=0,uuid=$(uuid 81) -d agcount=2 -L v4 /dev/sda; $(fill xfs)" "$1" tree.tar
}
