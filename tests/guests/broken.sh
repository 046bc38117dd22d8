# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Images that are damaged, or are no images at all. Uses lib.sh.

# An empty file
guest_empty() { : >"$1"; }
# A text file
guest_text() { seq -f 'This is line %.0f of a text.' 1 2000 >"$1"; }

# An ext4 file system whose superblock counts more blocks than there are
guest_corrupt_superblock() {
    plain_tree tree && ext ext4 "$1" 8 41 broken tree
    printf '\xff\xff\xff\x7f' | dd of="$1" bs=1 seek=$((1024 + 4)) conv=notrunc status=none
}
# An ext4 file system cut in the middle
guest_truncated() { plain_tree tree && ext ext4 "$1" 8 42 cut tree && truncate -s 3M "$1"; }
# GPT: sda1 is whole, the second partition is cut and the backup table with it
guest_truncated_gpt() {
    gpt "$1" 24 43 <<END
start=1MiB,  size=8MiB,  type=$linux_data, uuid=$(uuid 44)
start=9MiB,  size=14MiB, type=$linux_data, uuid=$(uuid 45)
END
    plain_tree tree
    ext ext4 p1 8 46 whole tree && put p1 "$1" 1
    ext ext4 p2 14 47 cut tree && put p2 "$1" 9
    truncate -s 16M "$1"
}
# MBR: sda1 is fine, sda2 reaches past the end, sda3 begins there
guest_table_past_end() {
    mbr "$1" 300 0xbadbad00 <<'END'
start=1MiB,   size=8MiB,   type=83
start=9MiB,   size=100MiB, type=83
start=200MiB, size=50MiB,  type=83
END
    truncate -s 12M "$1"
    plain_tree tree
    ext ext4 p1 8 48 fine tree && put p1 "$1" 1
}
# MBR whose extended partition's chain of logical ones runs in a circle
guest_mbr_circle() {
    mbr "$1" 24 0xbadbad01 <<'END'
start=1MiB,  size=8MiB,  type=83
start=9MiB,  size=14MiB, type=5
start=10MiB, size=2MiB,  type=83
start=13MiB, size=2MiB,  type=83
END
    plain_tree tree
    ext ext4 p1 8 49 fine tree && put p1 "$1" 1
    # The second boot record's link to the next one, relative to the extended partition: back to the first.
    local second
    second=$(sfdisk -d "$1" | awk '/type=5$|type=5 / { base = $4 } END { }; /start/ { last = $4 }; END { print last - 2048 }')
    perl -e 'print pack "x4Cx3L<2", 5, 0, 4096' |
        dd of="$1" bs=1 seek=$((second * 512 + 446 + 16)) conv=notrunc status=none
}

# ext4 with a directory that contains its own parent: /dir/sub/loop is /dir
guest_directory_loop() {
    plain_tree tree && ext ext4 "$1" 8 50 loop tree
    debugfs -w -R 'link /dir /dir/sub/loop' "$1"
}
# ext4 with a damaged directory, and the wish that a kernel panics when it sees that
guest_panics() {
    plain_tree tree && ext ext4 "$1" 8 51 panics tree
    tune2fs -e panic "$1"
    local block
    block=$(debugfs -R 'blocks /dir' "$1" 2>/dev/null | tr -d ' \n')
    printf '\x03\x00' | dd of="$1" bs=1 seek=$((block * 1024 + 4)) conv=notrunc status=none
}
# ext4 with 100 bytes after its last whole sector
guest_odd_size() { plain_tree tree && ext ext4 "$1" 8 52 odd tree && printf 't%.0s' $(seq 100) >>"$1"; }
