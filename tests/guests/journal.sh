# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Guests that lost power: their journal holds a committed transaction that is not in the file system yet. What is
# read must be the replayed state; what is only read must not change. Uses lib.sh.

# ext4 whose journal holds the new contents of /state.txt ("replayed"); without a replay it says "unplayed"
guest_ext4_dirty() {
    mkdir tree
    echo unplayed >tree/state.txt
    echo hello >tree/hello.txt
    ext ext4 "$1" 8 7 dirty tree
    echo replayed | dd of=block bs=1024 conv=sync status=none
    local number
    number=$(debugfs -R 'blocks /state.txt' "$1" 2>/dev/null | tr -d ' \n')
    # metadata_csum does not cover the contents of files; journal_open takes the checksums that mke2fs chose.
    debugfs -w "$1" <<END
journal_open
journal_write -b $number block
journal_close
END
    dumpe2fs -h "$1" 2>/dev/null | grep needs_recovery
}

# XFS whose log renames /before-replay to /after--replay
guest_xfs_dirty() {
    mkdir tree
    echo renamed >tree/before-replay
    echo hello >tree/hello.txt
    protofile "$PWD/tree" >proto && xfs "$1" 32 8 dirty proto
    "$here/dirty-xfs-log.pl" "$1" before-replay after--replay
}
