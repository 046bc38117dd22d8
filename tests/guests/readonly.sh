# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# File systems that nobody can change.

# A CD: ISO 9660 with Rock Ridge and Joliet
guest_iso9660() {
    plain_tree tree && ln -s hello.txt 'tree/a long name, with blänks'
    xorriso -as mkisofs -quiet -r -J -V ISOLABEL -o "$1" tree
}
# Squashfs, compressed by Zstandard
guest_squashfs() {
    plain_tree tree && ln -s hello.txt 'tree/a long name, with blänks'
    mksquashfs tree "$1" -quiet -no-progress -all-root -comp zstd
    truncate -s %512 "$1"
}
# EROFS
guest_erofs() {
    plain_tree tree && ln -s hello.txt 'tree/a long name, with blänks'
    mkfs.erofs --quiet -T "$SOURCE_DATE_EPOCH" -U "$(uuid 84)" --all-root "$1" tree
}
# HFS+, cut out of a CD that is ISO 9660 and HFS+
guest_hfsplus() {
    plain_tree tree
    xorriso -as mkisofs -quiet -hfsplus -hfsplus-serial-no 0123456789ABCDEF -V HFSLABEL -o cd tree
    local start size
    read -r start size < <(xorriso -indev cd -report_system_area plain 2>/dev/null |
        awk '/^APM start and size : *2 / { print $(NF - 1), $NF }')
    dd if=cd of="$1" bs=512 skip="$start" count="$size" status=none
}
