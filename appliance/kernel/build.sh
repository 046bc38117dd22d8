#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# build.sh OUT: builds the appliance's kernel into the directory OUT:
#   vmlinux  modules/lib/modules/VERSION/...  config  System.map  version  source
# from Debian's linux-source package, patches/ and config. Never needs root, never writes to the source tree.
# The result is cached (../cache.sh) by the hash of all inputs; the same inputs give the same bytes.
# INSP_KERNEL_SOURCE names another linux-source-*.tar.xz.
set -euo pipefail
export LC_ALL=C TZ=UTC
# What a caller's environment (or a make above this script) could otherwise change in the build.
unset ARCH CROSS_COMPILE CC LD KCFLAGS KAFLAGS KBUILD_OUTPUT INSTALL_MOD_PATH MAKEFLAGS MFLAGS MAKELEVEL
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=../cache.sh
. "$here/../cache.sh"

[ $# = 1 ] || fail "usage: build.sh OUT"
out=$1
source=${INSP_KERNEL_SOURCE:-/usr/src/linux-source-6.1.tar.xz}
[ -r "$source" ] || fail "$source cannot be read: install the package linux-source-6.1"
need gcc gcc make make flex flex bison bison bc bc xz xz-utils patch patch depmod kmod flock util-linux
[ -r /usr/include/libelf.h ] || fail "libelf.h is missing: install the package libelf-dev"

# Fails with the list of the lines of the fragment that .config does not carry.
check_config() {
    local line missing=
    while IFS= read -r line; do
        case $line in
        CONFIG_*=n) ! grep -q "^${line%=n}=" .config || missing+="$line"$'\n' ;;
        CONFIG_*) grep -qxF "$line" .config || missing+="$line"$'\n' ;;
        esac
    done <"$here/config"
    [ -z "$missing" ] || fail "the kernel's configuration did not take these lines of $here/config:"$'\n'"$missing"
}

build() {
    local result=$1 tree
    mkdir "$scratch/tree"
    tar -xf "$source" -C "$scratch/tree" --strip-components=1
    cd "$scratch/tree"
    # Everything that could tell one build from another: time, user, host, version counter, locale, paths (the build
    # is in the tree, so that all file names are relative).
    SOURCE_DATE_EPOCH=$(stat -c %Y Makefile)
    export SOURCE_DATE_EPOCH KBUILD_BUILD_TIMESTAMP="@$SOURCE_DATE_EPOCH" KBUILD_BUILD_VERSION=1
    export KBUILD_BUILD_USER=libinspect KBUILD_BUILD_HOST=libinspect
    for patch in "$here"/patches/*.patch; do
        patch -s -p1 <"$patch" || fail "$patch does not apply to $source"
    done
    make -s KCONFIG_ALLCONFIG="$here/config" allnoconfig
    check_config
    echo "building the appliance's kernel (some minutes, once)" >&2
    # check-local-export reads every object once more for a slip that Debian's source doesn't have: a script and nm for
    # each, a twentieth of the whole.
    make -s -j"$(nproc)" cmd_check_local_export= vmlinux modules
    mkdir "$result/modules"
    PATH=$PATH:/usr/sbin:/sbin make -s INSTALL_MOD_PATH="$result/modules" INSTALL_MOD_STRIP=1 modules_install
    make -s kernelrelease >"$result/version"
    echo "$(basename "$source") $(sha256sum <"$source" | cut -d' ' -f1)" >"$result/source"
    tree=$result/modules/lib/modules/$(cat "$result/version")
    rm -f "$tree/build" "$tree/source"
    objcopy --strip-all vmlinux "$result/vmlinux"
    cp .config "$result/config"
    cp System.map "$result/System.map"
}

key=$({
    sha256sum <"$source"
    sha256sum <"$here/config"
    cat "$here"/patches/*.patch "$here/build.sh" | sha256sum
    gcc --version
    ld --version
} | sha256sum | cut -c1-32)
cached kernel "$key" build
mkdir -p "$out"
rm -rf "$out/modules"
cp -a "$result/." "$out/"
