# SPDX-License-Identifier: GPL-2.0-or-later
#
# The build cache of the appliance, sourced by kernel/build.sh and rootfs/build.sh: what takes minutes or the network
# is made once for the same inputs, outside the source tree, whatever happens to the build directory.
# ${INSP_BUILD_CACHE:-${XDG_CACHE_HOME:-~/.cache}/libinspect-build} holds one directory NAME-KEY a result; it is safe
# to delete at any time.

# What is built must not depend on who builds it.
umask 022

cache_dir=${INSP_BUILD_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/libinspect-build}

fail() {
    echo "${0##*/}: $*" >&2
    exit 1
}

# need PROGRAM PACKAGE...: each PROGRAM must exist; says which Debian PACKAGE has it if not.
need() {
    while [ $# -gt 0 ]; do
        PATH=$PATH:/usr/sbin:/sbin command -v "$1" >/dev/null || fail "$1 is missing: install the package $2"
        shift 2
    done
}

# cached NAME KEY FUNCTION: sets `result` to the directory of the result. If it is not there, FUNCTION is run with
# an empty directory to fill (and to leave junk in $scratch); it is renamed into place when FUNCTION has succeeded, so
# that a killed build leaves no result. Concurrent builds of one NAME wait for each other.
cached() {
    local name=$1 key=$2 function=$3
    result=$cache_dir/$name-$key
    mkdir -p "$cache_dir"
    exec 9>"$cache_dir/$name.lock"
    flock 9
    if [ ! -d "$result" ]; then
        rm -rf "$cache_dir/$name".?????? # what a killed build left; nobody else is at it while the lock is held
        scratch=$(mktemp -d "$cache_dir/$name.XXXXXX")
        trap 'rm -rf "$scratch"' EXIT
        mkdir "$scratch/result"
        "$function" "$scratch/result" 9>&-
        mv -T "$scratch/result" "$result"
        rm -rf "$scratch"
        trap - EXIT
    fi
    exec 9>&-
}
