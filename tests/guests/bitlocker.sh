# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# BitLocker volumes. Nothing on Linux makes them, so they are cryptsetup's own test images, which Windows made: from
# Debian's source package, where that can be fetched. Their file systems were blanked before they were published (only boot
# sectors are left), so one gets a new file system in the appliance. Uses stacks.sh, lib.sh.

# shellcheck source=/dev/null
source "$here/stacks.sh"

# The images and images.conf, which has their passwords and the SHA-256 of what is decrypted, as a tar archive
guest_bitlocker_images() {
    local state=$PWD/apt mirror
    mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Codename: bookworm' 'Origin: Debian' | head -n 1)
    mkdir -p "$state/lists/partial"
    echo "deb-src ${mirror:-http://deb.debian.org/debian} bookworm main" >sources.list
    local apt=(apt-get -qq -o "Dir::State::lists=$state/lists" -o "Dir::Etc::sourcelist=$PWD/sources.list"
        -o Dir::Etc::sourceparts=- -o "Dir::Cache=$state" -o APT::Sandbox::User=root)
    "${apt[@]}" update
    "${apt[@]}" source --download-only cryptsetup
    tar -xzf cryptsetup_*.orig.tar.gz --wildcards --strip-components=2 '*/tests/bitlk-images.tar.xz'
    xz -dc bitlk-images.tar.xz >"$1"
}

# A whole-disk BitLocker volume (AES-XTS, password "anaconda") with an NTFS in it
guest_bitlocker() {
    tar -xf "$(guest bitlocker-images)" --wildcards --strip-components=1 -S '*/bitlk-aes-xts-128.img'
    plain_tree tree
    tar -C tree --sort=name --owner=0 --group=0 --mtime="@$SOURCE_DATE_EPOCH" -cf tree.tar .
    cp --sparse=always bitlk-aes-xts-128.img "$1"
    appliance '
        printf anaconda | cryptsetup open --batch-mode --type bitlk --key-file=- --disable-keyring /dev/sda b
        mkntfs -q -F -Q -L locked /dev/mapper/b
        ntfs-3g /dev/mapper/b /sysroot; tar -xf - --no-same-owner -C /sysroot </dev/sdb; umount /sysroot
        cryptsetup close b' "$1" tree.tar
}
