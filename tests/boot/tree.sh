# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The Debian that the guests of guests.sh hold.

# A Debian tree with a kernel, two initial RAM disks (the second knows the LUKS volume and its key), boot loaders, an SSH server with its
# keys, and cloud-init, which does nothing without a seed.
make_tree() {  # FILE
    cat >"$scratch/customize" <<'END'
set -eu
cd "$1"
echo boot-proof >etc/hostname
# What the guest sees of itself, on the serial console before the login prompt: sizes, identifiers, and what is a guest's own, which
# cloud-init may have made so.
cat >usr/local/sbin/show-proof <<'SCRIPT'
#!/bin/sh
echo "PROOF disk=$(lsblk -bdno SIZE /dev/vda) root=$(df -B1 --output=size / | tail -n 1 | tr -d ' ')"
lsblk -bnlo NAME,SIZE,TYPE,FSTYPE,UUID,LABEL,PARTUUID,PARTTYPE,PARTLABEL,PARTFLAGS /dev/vda | sed 's/^/PROOF is /'
echo "PROOF mounted $(findmnt -rno SOURCE,UUID /)"
echo "PROOF self host=$(hostname) machine-id=$(cat /etc/machine-id) ssh-key=$(ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub | cut -d ' ' -f 2)"
SCRIPT
chmod 755 usr/local/sbin/show-proof
cat >etc/systemd/system/show-proof.service <<'UNIT'
[Unit]
After=local-fs.target cloud-init.service
Before=serial-getty@ttyS0.service
[Service]
Type=oneshot
ExecStart=/usr/local/sbin/show-proof
StandardOutput=tty
TTYPath=/dev/ttyS0
[Install]
WantedBy=multi-user.target
UNIT
mkdir -p etc/systemd/system/multi-user.target.wants
ln -s /etc/systemd/system/show-proof.service etc/systemd/system/multi-user.target.wants/
# On a busy machine a device may take its time.
mkdir -p etc/systemd/system.conf.d
printf '[Manager]\nDefaultTimeoutStartSec=infinity\nDefaultDeviceTimeoutSec=infinity\n' >etc/systemd/system.conf.d/patience.conf
# Not of interest, and slow under emulation.
for unit in apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer systemd-timesyncd.service; do
    ln -sf /dev/null "etc/systemd/system/$unit"
done
kernel=$(ls boot | sed -n 's/^vmlinuz-//p')
mv "boot/vmlinuz-$kernel" boot/vmlinuz
mkdir -p etc/keys
echo 'boot proof' | tr -d '\n' >etc/keys/root.key
chmod 600 etc/keys/root.key
mv "boot/initrd.img-$kernel" boot/initrd.plain
echo 'KEYFILE_PATTERN=/etc/keys/*.key' >>etc/cryptsetup-initramfs/conf-hook
echo 'CRYPTSETUP=y' >>etc/cryptsetup-initramfs/conf-hook
echo 'cryptroot UUID=00000083-0083-4083-8083-000000000083 /etc/keys/root.key luks,initramfs' >etc/crypttab
chroot . mkinitramfs -o /boot/initrd.crypt "$kernel" || true
: >etc/crypttab
# Boot loaders, as grub-install makes them: each knows where grub.cfg is on the disk that it was started from. By UEFI that is the file
# which finds the other by a UUID.
modules="part_gpt part_msdos fat ext2 search search_fs_uuid normal linux configfile serial terminal echo"
for place in msdos1/boot gpt1/boot gpt3; do
    partition=${place%%/*}
    chroot . grub-mkimage -O i386-pc -p "(,$partition)${place#"$partition"}/grub" -o "/boot/core.$partition" biosdisk $modules
done
chroot . grub-mkimage -O x86_64-efi -p /EFI/BOOT -o /boot/bootx64.efi $modules
mkdir -p boot/grub boot/efi
cp usr/lib/grub/i386-pc/boot.img boot/boot.img
rm -rf usr/lib/grub
END
    mmdebstrap --quiet --format=tar --dpkgopt=force-unsafe-io --variant=minbase \
        --include=systemd-sysv,udev,login,linux-image-cloud-amd64,initramfs-tools,lvm2,cryptsetup-initramfs,kmod,e2fsprogs,zstd \
        --include=grub-pc-bin,grub-efi-amd64-bin,grub-common,cloud-init,openssh-server \
        --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
        --dpkgopt='path-exclude=/usr/share/doc/*' --aptopt='Acquire::Languages "none"' \
        --customize-hook="sh $scratch/customize \"\$1\"" bookworm "$1"
}
