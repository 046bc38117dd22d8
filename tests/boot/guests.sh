# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Disks with a real Debian 12 (tree.sh) and a boot loader for BIOS and for UEFI, to be booted. No root needed. Apart from tests/guests,
# because they take minutes to make and half a gigabyte each, and are booted by hand only. Uses tests/guests/lib.sh and tree.sh.

bios_boot=21686148-6449-6E6F-744E-656564454649
# On a busy machine the timer of an emulated one may look broken.
kernel_options="console=ttyS0 panic=-1 mitigations=off no_timer_check quiet"

# settle ROOT-DEVICE INITRD UUID DIRECTORY: what boots from the tree in ./tree; the kernel, the initial RAM disk and GRUB's files are in this
# directory of the file system with this UUID.
settle() {
    # It has been a machine before: not its first boot, in which systemd would set all of its units up.
    echo 0123456789abcdef0123456789abcdef >tree/etc/machine-id
    echo "$1 / ext4 errors=remount-ro 0 1" >tree/etc/fstab
    cat >tree/boot/grub/grub.cfg <<END
serial --unit=0 --speed=115200
terminal_output serial
search --no-floppy --fs-uuid --set=root $3
linux $4/vmlinuz root=$1 ro $kernel_options
initrd $4/$2
boot
END
    mkdir -p esp/EFI/BOOT
    cat >esp/EFI/BOOT/grub.cfg <<END
search.fs_uuid $3 root
set prefix=(\$root)'$4/grub'
configfile \$prefix/grub.cfg
END
}

# with_tree FUNCTION ARGUMENTS...: unpacks the tree and calls the function, both as root or as if, so that owners are kept.
with_tree() {
    local commands="set -euo pipefail; source '$guests/lib.sh'; source '$here/guests.sh'; \
rm -rf esp; mkdir tree; tar -xf '$tree' -C tree --exclude='./dev/*' --numeric-owner; \"\$@\"; rm -rf tree"
    here=$here guests=$guests fakeroot -- bash -c "$commands" bash "$@"
}

# The loaders: boot.img in the MBR, core.img in the BIOS boot partition or behind the MBR, an EFI system partition. The offsets are
# those of grub-core/boot/i386/pc (GRUB_BOOT_MACHINE_KERNEL_SECTOR, GRUB_BOOT_MACHINE_LIST_SIZE).
install_loaders() {  # DISK PARTITION-OF-GRUB.CFG CORE-SECTOR [ESP-START-MIB]
    perl -e '
        my ($disk, $boot, $core, $at) = @ARGV;
        sub slurp { open my $f, "<:raw", $_[0] or die $!; local $/; <$f> }
        my ($b, $c) = (slurp($boot), slurp($core));
        open my $d, "+<:raw", $disk or die $!;
        substr($b, 0x5c, 8) = pack("Q<", $at);
        substr($b, 0x66, 2) = "\x90\x90";
        $c .= "\0" x (-length($c) % 512);
        substr($c, 0x1f4, 12) = pack("Q<S<S<", $at + 1, length($c) / 512 - 1, 0x820);
        print $d substr($b, 0, 440);
        seek $d, $at * 512, 0;
        print $d $c;
        close $d or die $!;
    ' "$1" tree/boot/boot.img "tree/boot/core.$2" "$3"
    [ $# -gt 3 ] || return 0
    echo "UUID=EF10-0001 /boot/efi vfat umask=0077 0 0" >>tree/etc/fstab
    cp tree/boot/bootx64.efi esp/EFI/BOOT/BOOTX64.EFI
    vfat efi 32 EF100001 EFI "$PWD/esp"
    put efi "$1" "$4"
}

ext4_of() {  # DIRECTORY FILE SIZE_MIB UUID
    rm -f "$2"
    mke2fs -q -F -t ext4 -U "$4" -E "hash_seed=$(uuid 99)" -d "$1" "$2" "$3M"
}

# An MBR with one partition. BIOS only.
plain_disk() {  # FILE
    mbr "$1" 2048 0x0badb007 <<END
1 : start=1MiB, size=2047MiB, type=83, bootable
END
    settle "UUID=$(uuid 84)" initrd.plain "$(uuid 84)" /boot
    install_loaders "$1" msdos1 1
    unset MKE2FS_CONFIG
    ext4_of tree root 2047 "$(uuid 84)"
    put root "$1" 1
}

# Ubuntu's cloud layout: the root is the first by number and the last on the disk.
cloud_disk() {  # FILE
    gpt "$1" 2048 80 <<END
14 : start=1MiB, size=4MiB, type=$bios_boot, uuid=$(uuid 814)
15 : start=5MiB, size=32MiB, type=$efi_system, uuid=$(uuid 815)
1 : start=37MiB, type=$linux_data, uuid=$(uuid 801), name="root"
END
    settle "UUID=$(uuid 81)" initrd.plain "$(uuid 81)" /boot
    install_loaders "$1" gpt1 2048 5
    unset MKE2FS_CONFIG
    ext4_of tree root 2010 "$(uuid 81)"
    put root "$1" 37
}

# As Debian's installer makes it with LVM: /boot, and a physical volume at the end. What is in that is made by the appliance,
# in which there is a device mapper. ./root is what the logical volume has.
lvm_disk() {  # FILE ROOT-DEVICE INITRD
    gpt "$1" 2048 82 <<END
1 : start=1MiB, size=4MiB, type=$bios_boot, uuid=$(uuid 821)
2 : start=5MiB, size=32MiB, type=$efi_system, uuid=$(uuid 822)
3 : start=37MiB, size=160MiB, type=$linux_data, uuid=$(uuid 823)
4 : start=197MiB, size=1850MiB, type=E6D6D379-F507-44C2-A23C-238F2A3DF928, uuid=$(uuid 824)
END
    settle "$2" "$3" "$(uuid 823)" ""
    echo "UUID=$(uuid 823) /boot ext4 defaults 0 2" >>tree/etc/fstab
    install_loaders "$1" gpt3 2048 5
    unset MKE2FS_CONFIG
    ext4_of tree/boot boot 160 "$(uuid 823)"
    put boot "$1" 37
    find tree/boot -mindepth 1 -delete
    ext4_of tree "$1.root" 1400 "$(uuid 81)"
}

volume_group="lvm vgcreate -q vg \$pv && lvm lvcreate -q -Zn -Wn -an -L 256M -n swap_1 vg && lvm lvcreate -q -Zn -Wn -an -L 1404M -n root vg && lvm vgchange -q -ay vg"

# fill DISK COMMANDS: makes the physical volume by these commands, then the volume group, and copies the root into it.
fill() {
    "$INSP" run -a "$1" -a "$1.root" --rw -- sh -c "$2 && $volume_group && dd if=/dev/sdb of=/dev/vg/root bs=1M && \
mkswap -q /dev/vg/swap_1 && lvm vgchange -q -an vg"
    rm "$1.root"
}

# key FILE...: what a guest is made of, as a part of its cached name.
key() { cat "$@" | sha256sum | cut -c1-16; }

# image plain|cloud|lvm|luks: makes that guest's image in $cache, unless it is there, with the insp in $INSP, and leaves its path in $made.
# Works in $scratch, the current directory.
image() {
    local tree
    tree=$cache/$(key "$here/tree.sh")-tree.tar
    made=$cache/$(key "$here/tree.sh" "$here/guests.sh" "$guests/lib.sh")-$1.img
    [ ! -e "$made" ] || return 0
    [ -e "$tree" ] || { echo "making a Debian tree: some minutes" && make_tree "$scratch/tree.tar" && mv "$scratch/tree.tar" "$tree"; }
    echo "making the guest $1"
    case $1 in
        plain | cloud) with_tree "$1_disk" "$made.new" ;;
        lvm)
            with_tree lvm_disk "$made.new" /dev/mapper/vg-root initrd.plain
            fill "$made.new" "pv=/dev/sda4; lvm pvcreate -q \$pv"
            ;;
        luks)
            with_tree lvm_disk "$made.new" /dev/mapper/vg-root initrd.crypt
            fill "$made.new" "pv=/dev/mapper/filled; printf 'boot proof' >/tmp/key; \
cryptsetup -q luksFormat --pbkdf pbkdf2 --pbkdf-force-iterations 1000 --uuid $(uuid 83) --key-file /tmp/key /dev/sda4 && \
cryptsetup open --key-file /tmp/key /dev/sda4 filled && lvm pvcreate -q \$pv"
            ;;
    esac
    mv "$made.new" "$made"
}
