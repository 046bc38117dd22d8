# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Guests on arrays of less common kinds. Made in the appliance, with what stacks.sh and lib.sh have.

# shellcheck source=/dev/null
source "$here/stacks.sh"

# create DEVICE NAME LEVEL OPTION... MEMBER...: for the appliance's script
create='create() { local device=$1 name=$2 level=$3; shift 3; mdadm -q --create $device --run --homehost=guest --name=$name --level=$level "$@"; }
    clean="--assume-clean --bitmap=none"'

# RAID 1 whose metadata is at the end (1.0), on partitions whose types don't say so: root (sda3, sda4) and the EFI partition (sda1, sda2)
guest_md_end() {
    gpt "$1" 24 100 <<END
1 : start=1MiB,  size=2MiB, type=$efi_system, uuid=$(uuid 101)
2 : start=3MiB,  size=2MiB, type=$efi_system, uuid=$(uuid 102)
3 : start=5MiB,  size=9MiB, type=$linux_data, uuid=$(uuid 103)
4 : start=14MiB, size=9MiB, type=$linux_data, uuid=$(uuid 104)
END
    debian_tree tree <<END
UUID=$(uuid 44) / ext4 defaults 0 1
UUID=0E0F-1234 /boot/efi vfat umask=0077 0 1
END
    mkdir -p tree/boot/efi esp-tree/EFI && echo loader >esp-tree/EFI/loader
    ext ext4 root 8 44 root tree
    vfat esp 1 0e0f1234 ESP esp-tree
    appliance "$create"'
        modprobe raid1
        create /dev/md0 0 1 $clean --metadata=1.0 --uuid=00000100:00000000:00000000:00000001 --raid-devices=2 /dev/sda3 /dev/sda4
        create /dev/md1 1 1 $clean --metadata=1.0 --uuid=00000100:00000000:00000000:00000002 --raid-devices=2 /dev/sda1 /dev/sda2
        dd if=/dev/sdb of=/dev/md0 bs=1M
        dd if=/dev/sdc of=/dev/md1 bs=1M
        mdadm -q --stop /dev/md0 /dev/md1' "$1" root esp
}

# md of the levels 0, linear, 4 and 6, and a mirror of LVM (dm-mirror, not dm-raid); each has the others' directories
guest_mirrors_and_stripes() {
    local i name id=130
    { for i in $(seq 11); do echo "$i : start=$((i * 2 - 1))MiB, size=2MiB, type=$linux_raid, uuid=$(uuid $((110 + i)))"; done
      for i in 12 13; do echo "$i : start=$((i * 4 - 25))MiB, size=4MiB, type=$linux_lvm, uuid=$(uuid $((110 + i)))"; done; } |
        gpt "$1" 32 110
    for name in zero linear four six mirrored; do
        mkdir -p "tree-$name"/{zero,linear,four,six,mirrored}
        echo "$name" >"tree-$name/name"
        ext ext2 "$name" 1 $((id++)) "$name" "tree-$name" -N 32
    done
    appliance "$create"'
        modprobe raid0; modprobe linear; modprobe raid456
        create /dev/md10 zero 0 --metadata=1.2 --data-offset=128K --chunk=64 --raid-devices=2 /dev/sda1 /dev/sda2
        create /dev/md11 linear linear --metadata=1.2 --data-offset=128K --raid-devices=2 /dev/sda3 /dev/sda4
        create /dev/md12 four 4 $clean --metadata=1.2 --data-offset=128K --chunk=64 --raid-devices=3 /dev/sda5 /dev/sda6 /dev/sda7
        create /dev/md13 six 6 $clean --metadata=1.2 --data-offset=128K --chunk=64 --raid-devices=4 /dev/sda8 /dev/sda9 /dev/sda10 /dev/sda11
        pvcreate -qq --dataalignment 64k --metadatasize 64k /dev/sda12 /dev/sda13
        vgcreate -qq -s 512k mir /dev/sda12 /dev/sda13
        lvcreate -qq -y -Zn -Wn --type mirror --mirrorlog core --nosync -m 1 -L 1m -n mirrored mir
        dd if=/dev/sdb of=/dev/md10 bs=1M
        dd if=/dev/sdc of=/dev/md11 bs=1M
        dd if=/dev/sdd of=/dev/md12 bs=1M
        dd if=/dev/sde of=/dev/md13 bs=1M
        dd if=/dev/sdf of=/dev/mir/mirrored bs=1M
        vgchange -qq -an
        mdadm -q --stop /dev/md10 /dev/md11 /dev/md12 /dev/md13' "$1" zero linear four six mirrored
}
