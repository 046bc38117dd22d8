# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The Debian that the guests of guests.sh hold.

# A Debian tree with a kernel, two initial RAM disks (the second knows the LUKS volume and its key) and boot loaders; with more packages
# where they are named.
make_tree() {  # FILE [PACKAGE,...]
    cat >"$scratch/customize" <<'END'
set -eu
cd "$1"
echo boot-proof >etc/hostname
# What the guest sees of itself, on the serial console before the login prompt.
cat >usr/local/sbin/show-sizes <<'SCRIPT'
#!/bin/sh
echo "PROOF disk=$(lsblk -bdno SIZE /dev/vda) root=$(df -B1 --output=size / | tail -n 1 | tr -d ' ')"
lsblk -bnlo NAME,SIZE,TYPE,FSTYPE,UUID,LABEL,PARTUUID,PARTTYPE,PARTLABEL,PARTFLAGS /dev/vda | sed 's/^/PROOF is /'
SCRIPT
chmod 755 usr/local/sbin/show-sizes
cat >etc/systemd/system/show-sizes.service <<'UNIT'
[Unit]
After=local-fs.target
Before=serial-getty@ttyS0.service
[Service]
Type=oneshot
ExecStart=/usr/local/sbin/show-sizes
StandardOutput=tty
TTYPath=/dev/ttyS0
[Install]
WantedBy=multi-user.target
UNIT
mkdir -p etc/systemd/system/multi-user.target.wants
ln -s /etc/systemd/system/show-sizes.service etc/systemd/system/multi-user.target.wants/
# What is a guest's own, when cloud-init has made it so.
if [ -d etc/cloud ]; then
    cat >usr/local/sbin/show-self <<'SCRIPT'
#!/bin/sh
echo "PROOF self host=$(hostname) machine-id=$(cat /etc/machine-id) ssh-key=$(ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub | cut -d ' ' -f 2)"
SCRIPT
    chmod 755 usr/local/sbin/show-self
    cat >etc/systemd/system/show-self.service <<'UNIT'
[Unit]
After=cloud-init.service
[Service]
Type=oneshot
ExecStart=/usr/local/sbin/show-self
StandardOutput=tty
TTYPath=/dev/ttyS0
[Install]
WantedBy=multi-user.target
UNIT
    ln -s /etc/systemd/system/show-self.service etc/systemd/system/multi-user.target.wants/
fi
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
# Boot loaders. `embed` is found by what is in the file system that has it.
cat >tmp/embed.cfg <<'CFG'
search.file /boot-proof.cfg root
set prefix=($root)/grub
configfile ($root)/boot-proof.cfg
CFG
modules="part_gpt part_msdos ext2 search search_fs_file normal linux configfile serial terminal echo"
chroot . grub-mkimage -O i386-pc -c /tmp/embed.cfg -p /grub -o /boot/core.img biosdisk $modules
chroot . grub-mkimage -O x86_64-efi -c /tmp/embed.cfg -p /grub -o /boot/bootx64.efi $modules
cp usr/lib/grub/i386-pc/boot.img boot/boot.img
rm -rf tmp/embed.cfg usr/lib/grub
END
    mmdebstrap --quiet --format=tar --dpkgopt=force-unsafe-io --variant=minbase \
        --include=systemd-sysv,udev,login,linux-image-cloud-amd64,initramfs-tools,lvm2,cryptsetup-initramfs,kmod,e2fsprogs,zstd \
        --include=grub-pc-bin,grub-efi-amd64-bin,grub-common${2:+,$2} \
        --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
        --dpkgopt='path-exclude=/usr/share/doc/*' --aptopt='Acquire::Languages "none"' \
        --customize-hook="sh $scratch/customize \"\$1\"" bookworm "$1"
}
