#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# build.sh OUT MODULES: makes the root image of the appliance from the Debian packages in ./packages and the kernel
# modules under MODULES (kernel/build.sh's OUT/modules):
#   OUT/root.erofs  OUT/packages.txt ("name version architecture sha256" of each package, sorted)
#
# The packages come from the host's apt sources, at the version that apt would install, are verified by apt's
# checksums, and only unpacked: no maintainer script runs, nothing is installed, no root is needed. The image is EROFS with
# 4 KiB blocks and no inline data, so that every page of a file that is named in ./uncompressed can be mapped where it lies
# (DAX); the rest is compressed. The same package versions give the same bytes. The result is cached (../cache.sh).
set -euo pipefail
export LC_ALL=C TZ=UTC
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=../cache.sh
. "$here/../cache.sh"

[ $# = 2 ] || fail "usage: build.sh OUT MODULES"
out=$1 modules=$(cd "$2" && pwd)
need apt-get apt dpkg-deb dpkg mkfs.erofs erofs-utils readelf binutils flock util-linux
PATH=$PATH:/usr/sbin:/sbin

names=$(sed -n 's/^\([a-z0-9][a-z0-9.+-]*\):.*/\1/p' "$here/packages")
mkdir -p "$cache_dir/apt/lists/partial" "$cache_dir/apt/archives/partial" "$cache_dir/debs"
apt=(apt-get -q -o Dir::Cache="$cache_dir/apt" -o APT::Sandbox::User=root)

# Sets `uris`: 'URL' FILE SIZE SHA256:HASH of each package, sorted.
resolve() {
    # shellcheck disable=SC2046,SC2086
    uris=$("${apt[@]}" download --print-uris $(printf '%s:amd64 ' $names) | sort -k2) &&
        [ "$(wc -l <<<"$uris")" = "$(wc -w <<<"$names")" ]
}

# Package lists of our own, from the host's sources: where the host has none, or old ones.
own_lists() {
    apt+=(-o Dir::State::lists="$cache_dir/apt/lists")
    "${apt[@]}" update >&2 || fail "apt-get update failed: the root image's packages cannot be found"
}

if ! resolve 2>/dev/null; then
    own_lists
    resolve || fail "apt does not know all of the packages in $here/packages (see above)"
fi

# Downloads what is not in the cache yet; every file is checked against apt's hash each time.
fetch() {
    local file hash missing=()
    while read -r _ file _ hash; do
        [ -e "$cache_dir/debs/$file" ] || missing+=("${file%%_*}:amd64")
    done <<<"$uris"
    if [ ${#missing[@]} -gt 0 ]; then
        mkdir -p "$scratch/download"
        (cd "$scratch/download" && "${apt[@]}" download "${missing[@]}" >&2)
        mv "$scratch"/download/*.deb "$cache_dir/debs/"
    fi
    while read -r _ file _ hash; do
        [ "${hash%%:*}" = SHA256 ] || fail "$file: apt gives no SHA256"
        sha256sum --status -c - <<<"${hash#*:}  $cache_dir/debs/$file" || {
            rm -f "$cache_dir/debs/$file"
            fail "$file: the download is damaged; try again"
        }
    done <<<"$uris"
}

# unpack PACKAGE TREE PATTERN...: the files of PACKAGE that match a PATTERN go to TREE, usr-merged.
unpack() {
    local package=$1 tree=$2 file files pattern found part
    shift 2
    file=$(awk -v p="$package" 'index($2, p "_") == 1 {print $2}' <<<"$uris")
    rm -rf "$scratch/package"
    mkdir "$scratch/package"
    dpkg-deb -x "$cache_dir/debs/$file" "$scratch/package"
    for part in bin sbin lib lib64; do
        if [ -d "$scratch/package/$part" ]; then
            mkdir -p "$scratch/package/usr/$part"
            cp -a "$scratch/package/$part/." "$scratch/package/usr/$part/"
            rm -rf "${scratch:?}/package/$part"
        fi
    done
    cd "$scratch/package"
    for pattern in "$@"; do
        found=
        for part in $pattern; do
            [ -e "$part" ] || [ -L "$part" ] || continue
            found=yes
            mkdir -p "$tree/${part%/*}"
            cp -a "$part" "$tree/${part%/*}/"
        done
        [ -n "$found" ] || fail "$here/packages: $package has no $pattern"
    done
    mkdir -p "$tree/usr/share/doc/$package"
    # In some packages the folder is a link to that of another package of the same source.
    if [ -e "usr/share/doc/$package/copyright" ]; then
        cp -L "usr/share/doc/$package/copyright" "$tree/usr/share/doc/$package/copyright"
    fi
    cd "$here"
}

# Each shared library and interpreter that a program in TREE asks for must be in TREE.
check_libraries() {
    local tree=$1 missing
    missing=$(find "$tree/usr" -type f \( -perm -100 -o -name '*.so*' \) ! -path '*/lib/modules/*' | while read -r f; do
        readelf -d "$f" 2>/dev/null | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' | while read -r library; do
            [ -e "$tree/usr/lib/x86_64-linux-gnu/$library" ] || echo "${f#"$tree"/} needs $library"
        done
    done)
    [ -z "$missing" ] || fail "$here/packages lacks libraries:"$'\n'"$missing"
}

# A link in TREE for each of busybox's names that no other program has.
link_busybox() {
    local tree=$1 name
    "$tree/usr/lib64/ld-linux-x86-64.so.2" --library-path "$tree/usr/lib/x86_64-linux-gnu" "$tree/usr/bin/busybox" --list-full |
        while read -r name; do
            name=usr/${name#usr/}
            [ -e "$tree/usr/bin/${name##*/}" ] || [ -e "$tree/usr/sbin/${name##*/}" ] || ln -s ../bin/busybox "$tree/$name"
        done
}

build() {
    local result=$1 tree=$scratch/tree name patterns
    fetch
    mkdir -p "$tree"/{dev,etc,mnt,proc,root,run,sys,sysroot,tmp,usr/bin,usr/sbin,usr/lib,usr/lib64}
    ln -s usr/bin "$tree/bin"
    ln -s usr/sbin "$tree/sbin"
    ln -s usr/lib "$tree/lib"
    ln -s usr/lib64 "$tree/lib64"
    while IFS=: read -r name patterns; do
        case $name in '' | '#'*) continue ;; esac
        # The patterns are split here and expanded in the package, not in the current folder.
        set -f
        # shellcheck disable=SC2086
        set -- $patterns
        set +f
        unpack "$name" "$tree" "$@"
    done <"$here/packages"
    check_libraries "$tree"
    link_busybox "$tree"

    # Enough of /etc for getpwuid(3) and for tools that look at the mounted file systems.
    echo 'root:x:0:0:root:/root:/bin/sh' >"$tree/etc/passwd"
    echo 'root:x:0:' >"$tree/etc/group"
    ln -s ../proc/self/mounts "$tree/etc/mtab"
    echo 'passwd: files' >"$tree/etc/nsswitch.conf"
    mkdir -p "$tree/etc/lvm"
    cp "$here/lvm.conf" "$tree/etc/lvm/lvm.conf"
    mkdir -p "$tree/etc/modprobe.d"
    cp "$here/modprobe.conf" "$tree/etc/modprobe.d/insp.conf"
    mkdir -p "$tree/usr/lib/modules"
    cp -a "$modules/lib/modules/." "$tree/usr/lib/modules/"

    find "$tree" -type d -exec chmod 755 {} +
    chmod -R u-s,go-ws "$tree"
    find "$tree" -exec touch -h -d @0 {} +
    grep -v '^#' "$here/uncompressed" >"$scratch/hints"
    mkfs.erofs -x-1 -T0 -U6c696269-6e73-4070-8563-740000000001 --all-root -Enoinline_data --quiet \
        -zlz4hc,12 -C65536 --compress-hints="$scratch/hints" "$result/root.erofs" "$tree" >&2
    # The kernel maps a pmem device with DAX in units of 2 MiB; the tail is a hole.
    truncate -s %2M "$result/root.erofs"
    while read -r _ name _ patterns; do
        printf '%s %s\n' "$(dpkg-deb -W --showformat='${Package} ${Version} ${Architecture}' \
            "$cache_dir/debs/$name")" "${patterns#*:}"
    done <<<"$uris" | sort >"$result/packages.txt"
}

key=$({
    cat "$here/packages" "$here/build.sh" "$here/uncompressed" "$here/lvm.conf" "$here/modprobe.conf"
    cut -d' ' -f2- <<<"$uris"
    (cd "$modules" && find . -type f | sort | xargs -r sha256sum)
    mkfs.erofs --version 2>&1 | grep ^mkfs.erofs || true # 1.5 calls it an unknown option
} | sha256sum | cut -c1-32)
cached rootfs "$key" build
mkdir -p "$out"
cp "$result/root.erofs" "$result/packages.txt" "$out/"
