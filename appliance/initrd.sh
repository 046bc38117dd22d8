#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# initrd.sh AGENT OUT: packs the initramfs: the agent as /init and the mount points it needs, nothing else.
# Uncompressed, because the guest's kernel would have to run the decompressor; the same AGENT gives the same bytes,
# whoever builds, and no root is needed.
set -euo pipefail
export LC_ALL=C
umask 022
[ $# = 2 ] || { echo "usage: initrd.sh AGENT OUT" >&2; exit 2; }
agent=$1 out=$2
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
mkdir -m 755 "$tree"/{dev,proc,sys,tools}
strip -s -o "$tree/init" "$agent"
chmod 755 "$tree/init" "$tree"
find "$tree" -exec touch -h -d @0 {} +
(cd "$tree" && find . -mindepth 1 | sort | cpio --quiet --reproducible -o -H newc -R 0:0) >"$out.new"
mv "$out.new" "$out"
