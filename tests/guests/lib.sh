# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# What the makers of test guests share. Sourced by ./make, with -euo pipefail, in an empty scratch directory.
# All that makes a file system differ from one run to the next is fixed: times, UUIDs, hash seeds.

export SOURCE_DATE_EPOCH=1700000000
export E2FSPROGS_FAKE_TIME=$SOURCE_DATE_EPOCH
export MKE2FS_CONFIG=/dev/null
mib=$((1024 * 1024))

# An easily recognised UUID: uuid 7 is 00000007-0007-4007-8007-000000000007.
uuid() { printf '%08d-%04d-4%03d-8%03d-%012d\n' "$1" "$1" "$1" "$1" "$1"; }

# ext TYPE FILE SIZE_MIB UUID-NUMBER LABEL [TREE [MKE2FS-OPTIONS...]]: an ext2/3/4 file system, small enough to be mounted quickly by
# an emulated kernel: 1 KiB blocks, few inodes, the smallest journal.
ext() {
    local type=$1 file=$2 size=$3 id=$4 label=$5 tree=${6:-}
    shift $(($# < 6 ? 5 : 6))
    local features=() journal=()
    case "$type $*" in
        ext2*) ;;
        *"-b 4096"*) journal=(-J size=4) ;;
        *) journal=(-J size=1) ;;
    esac
    # What Debian's mke2fs.conf makes of ext4, without the features that cost metadata.
    [ "$type" != ext4 ] || features=(-O ext_attr,extent,flex_bg,huge_file,64bit,metadata_csum,dir_nlink,extra_isize)
    [ "$type" != ext3 ] || features=(-O ext_attr,dir_index,sparse_super,filetype,resize_inode)
    [ -z "$tree" ] || touch_tree "$tree"
    mke2fs -q -F -t "$type" -b 1024 -I 256 -N 512 -m 0 "${journal[@]}" "${features[@]}" -L "$label" -U "$(uuid "$id")" \
        -E "hash_seed=$(uuid 99),root_owner=0:0,lazy_itable_init=0,lazy_journal_init=0" ${tree:+-d "$tree"} "$@" "$file" "${size}M"
}

# xfs FILE SIZE_MIB UUID-NUMBER LABEL [PROTOFILE]: sizes under 300 MiB are for tests alone, hence --unsupported.
xfs() {
    local file=$1 size=$2 id=$3 label=$4 proto=${5:-}
    truncate -s "${size}M" "$file"
    mkfs.xfs -q -f --unsupported -m "uuid=$(uuid "$id")" -L "$label" -d agcount=2 ${proto:+-p "$proto"} "$file"
}

# vfat FILE SIZE_MIB VOLUME-ID LABEL [TREE [SECTOR-SIZE]]
vfat() {
    local file=$1 size=$2 id=$3 label=$4 tree=${5:-} sector=${6:-512}
    truncate -s "${size}M" "$file"
    file=$(realpath "$file")
    mkfs.vfat --invariant -S "$sector" -i "$id" -n "$label" "$file" >/dev/null
    [ -z "$tree" ] || (cd "$tree" && mcopy -s -Q -i "$file" ./* ::)
}

# Gives every entry of a tree the same times.
touch_tree() { find "$1" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +; }

# gpt FILE SIZE_MIB ID, mbr FILE SIZE_MIB ID: a partition table in a new disk; stdin has sfdisk's lines for the partitions.
gpt() {
    truncate -s "$2M" "$1"
    { printf 'label: gpt\nlabel-id: %s\n' "$(uuid "$3")" && cat; } | sfdisk -q --no-tell-kernel "$1"
}
mbr() {
    truncate -s "$2M" "$1"
    { printf 'label: dos\nlabel-id: %s\n' "$3" && cat; } | sfdisk -q --no-tell-kernel "$1"
}
linux_data=0FC63DAF-8483-4772-8E79-3D69D8477DE4
linux_swap=0657FD6D-A4AB-43C4-84E5-0933C84B4F4F
efi_system=C12A7328-F81F-11D2-BA4B-00A0C93EC93B

# put FILE-SYSTEM DISK START_MIB: copies it into the disk image, holes left out.
put() { dd if="$1" of="$2" bs=1M seek="$3" conv=notrunc,sparse status=none; }

# protofile TREE: what mkfs.xfs -p wants to know to copy the tree. It has no way to write a name with a blank in it, so
# such are left out.
protofile() {
    local tree=$1
    printf '/\n0 0\n'
    (cd "$tree" && find . -name '*[[:space:]]*' -prune -o -printf '%d\t%y\t%m\t%U\t%G\t%f\t%p\t%l\n' | proto_lines "$tree")
}
proto_lines() {
    awk -F '\t' -v tree="$1" '
    function mode(type, bits,    n) {
        n = sprintf("%04d", bits)
        return type (substr(n, 1, 1) ~ /[4567]/ ? "u" : "-") (substr(n, 1, 1) ~ /[2367]/ ? "g" : "-") substr(n, 2)
    }
    # find lists a directory before what is in it; "$" closes one.
    {
        while (depth > $1) { print "$"; depth-- }
        name = $1 == 0 ? "" : $6 " "
        if ($2 == "d") { print name mode("d", $3), $4, $5; depth++ }
        else if ($2 == "f") print name mode("-", $3), $4, $5, tree "/" substr($7, 3)
        else if ($2 == "l") print name mode("l", 777), $4, $5, $8
    }
    END { while (depth > 0) { print "$"; depth-- } }'
}

# A tree with a few ordinary files, in $1.
plain_tree() {
    mkdir -p "$1/dir/sub"
    printf 'hello, guest\n' >"$1/hello.txt"
    printf 'deep\n' >"$1/dir/sub/deep.txt"
    : >"$1/empty"
    seq 1 20000 >"$1/numbers"
}

# An ELF file of nothing but its header, in $1, for the machine $2 (62: x86-64, 183: AArch64): enough for libmagic.
elf() {
    mkdir -p "$(dirname "$1")"
    perl -e 'print "\x7fELF\2\1\1", "\0" x 9, pack("S<S<L<Q<Q<Q<L<S<6", 2, shift, 1, 0x400000, 0, 0, 0, 64, 56, 0, 64, 0, 0)' "$2" >"$1"
    chmod 0755 "$1"
}

# The tree of a minimal Debian, in $1, with fstab from stdin.
debian_tree() {
    mkdir -p "$1"/{etc,usr/bin,usr/lib,var/lib/dpkg/info,boot,home,srv,root,proc,tmp,dev}
    ln -s usr/bin "$1/bin"
    ln -s usr/lib "$1/lib"
    elf "$1/usr/bin/dash" 62
    ln -s dash "$1/usr/bin/sh"
    cat >"$1/usr/lib/os-release" <<'END'
PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"
NAME="Debian GNU/Linux"
VERSION_ID="12"
VERSION="12 (bookworm)"
VERSION_CODENAME=bookworm
ID=debian
HOME_URL="https://www.debian.org/"
END
    ln -s ../usr/lib/os-release "$1/etc/os-release"
    echo 12.11 >"$1/etc/debian_version"
    echo old-debian >"$1/etc/hostname"
    echo 0123456789abcdef0123456789abcdef >"$1/etc/machine-id"
    printf 'root:x:0:0:root:/root:/bin/sh\nalice:x:1000:1000::/home/alice:/bin/sh\n' >"$1/etc/passwd"
    printf 'root:x:0:\nalice:x:1000:\nstaff:x:50:\n' >"$1/etc/group"
    : >"$1/var/lib/dpkg/status"
    cat >"$1/etc/fstab"
}

# The tree of a minimal Fedora for AArch64, in $1, with fstab from stdin.
fedora_tree() {
    mkdir -p "$1"/{etc,usr/bin,usr/lib/sysimage/rpm,var/lib,boot,home,root,proc,tmp,dev}
    ln -s usr/bin "$1/bin"
    ln -s usr/lib "$1/lib"
    elf "$1/usr/bin/bash" 183
    ln -s bash "$1/usr/bin/sh"
    cat >"$1/usr/lib/os-release" <<'END'
NAME="Fedora Linux"
VERSION="40 (Server Edition)"
ID=fedora
VERSION_ID=40
PRETTY_NAME="Fedora Linux 40 (Server Edition)"
VARIANT="Server Edition"
VARIANT_ID=server
END
    ln -s ../usr/lib/os-release "$1/etc/os-release"
    echo old-fedora >"$1/etc/hostname"
    : >"$1/usr/lib/sysimage/rpm/rpmdb.sqlite"
    printf 'root:x:0:0:root:/root:/bin/sh\n' >"$1/etc/passwd"
    printf 'root:x:0:\n' >"$1/etc/group"
    cat >"$1/etc/fstab"
}
