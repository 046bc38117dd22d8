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
