#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# manifest.sh DIRECTORY VERSION KERNEL PACKAGES: prints the manifest of an appliance as JSON: which bytes it consists
# of and what they were made from. DIRECTORY holds vmlinux.zst, initrd and root.erofs, KERNEL is kernel/build.sh's output
# directory, PACKAGES rootfs/build.sh's packages.txt. None of the values needs escaping: they are hashes, file names and
# Debian's package names and versions.
set -euo pipefail
export LC_ALL=C
[ $# = 4 ] || { echo "usage: manifest.sh DIRECTORY VERSION KERNEL PACKAGES" >&2; exit 2; }
directory=$1 version=$2 kernel=$3 packages=$4

echo '{'
echo "  \"version\": \"$version\","
echo "  \"kernel\": {\"release\": \"$(cat "$kernel/version")\", \"source\": \"$(cat "$kernel/source")\"},"
echo '  "files": {'
separator=
for file in initrd root.erofs vmlinux.zst; do
    printf '%s    "%s": {"size": %d, "sha256": "%s"}' "$separator" "$file" "$(stat -c %s "$directory/$file")" \
        "$(sha256sum <"$directory/$file" | cut -d' ' -f1)"
    separator=$',\n'
done
printf '\n  },\n  "packages": [\n'
separator=
while read -r name package_version architecture hash; do
    printf '%s    {"name": "%s", "version": "%s", "architecture": "%s", "sha256": "%s"}' "$separator" "$name" \
        "$package_version" "$architecture" "$hash"
    separator=$',\n'
done <"$packages"
printf '\n  ]\n}\n'
