# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Guests with names and metadata that a careless program loses. Uses lib.sh.

# ext4 with names that are not UTF-8, hold newlines, quotes and blanks, or are 255 bytes long
guest_names() {
    mkdir -p tree/names/deep
    local name
    for name in $'not-utf8-\xff\xfe' $'new\nline' 'two words' '-dash' '"quoted" \back' $'tab\tand\ebell' $'\xc3\xbcml\xc3\xa4ut' \
        "$(printf 'n%.0s' $(seq 255))"; do
        printf '%s\n' "$name" >"tree/names/$name"
    done
    echo deep >$'tree/names/deep/also\nhere'
    ln -s $'target\nwith \xff' tree/names/strange-link
    ext ext4 "$1" 8 9 names tree
}

# ext4 with owners, modes, hard links, xattrs, an ACL, an SELinux label, a hole, devices, a fifo, links of all kinds
guest_metadata() {
    mkdir -p tree/dir/locked
    printf 'first line\nsecond line\n' >tree/dir/file
    ln tree/dir/file tree/dir/hard-link
    printf 'alone\n' >tree/dir/single
    printf 'plain\n' >tree/dir/plain
    # 4 MiB, of which the first and the last block are not holes
    printf 'begin' >tree/dir/sparse
    truncate -s 4M tree/dir/sparse
    printf 'end\n' | dd of=tree/dir/sparse bs=1 seek=$((4 * mib - 4)) conv=notrunc status=none
    ln -s single tree/dir/relative
    ln -s /dir/single tree/dir/absolute
    ln -s ../../../../dir/single tree/dir/upwards
    ln -s nowhere tree/dir/dangling
    ln -s self tree/dir/self
    ext ext4 "$1" 16 10 metadata tree
    # user::rw-, user:1001:r--, group::r--, mask::r--, other::---, as the kernel passes an ACL
    perl -e 'print pack "L<(S<S<L<)5", 2, 1, 6, -1, 2, 4, 1001, 4, 4, -1, 16, 4, -1, 32, 0, -1' >acl
    local file
    for file in file single; do
        cat <<END
set_inode_field /dir/$file uid 1000
set_inode_field /dir/$file gid 50
set_inode_field /dir/$file mode 0100640
ea_set /dir/$file security.selinux "system_u:object_r:etc_t:s0"
ea_set /dir/$file user.comment "kept"
ea_set -f acl /dir/$file system.posix_acl_access
END
    done >requests
    cat >>requests <<END
set_inode_field /dir/plain mode 0104755
set_inode_field /dir/locked mode 0041777
cd /dir
mknod null c 1 3
mknod disk b 8 0
mknod fifo p
END
    debugfs -w -f requests "$1"
}
