#!/bin/sh
# SPDX-License-Identifier: CC0-1.0
#
# clone-pipeline.sh TEMPLATE DIRECTORY COUNT: guests from a template: overlays named web-001, web-002... in a directory, each
# with identifiers, host name and machine-id of its own, without the template's keys and logs, and with a seed for
# cloud-init. The template must stay as it is for as long as they live: make it read-only.
#
# $USER_DATA is the file with cloud-init's user-data; without it the guests get an empty one. What is there already is left alone,
# so the pipeline may be run again with a larger COUNT, or after it was killed.
set -eu
template=${1:?usage: clone-pipeline.sh TEMPLATE DIRECTORY COUNT} directory=${2:?a directory} count=${3:?how many}
mkdir -p "$directory"
seed=$(mktemp -d)
trap 'rm -rf "$seed"' EXIT

for number in $(seq 1 "$count"); do
    name=$(printf 'web-%03d' "$number")
    image=$directory/$name.qcow2
    [ ! -e "$image" ] || continue
    if [ -n "${USER_DATA:-}" ]; then cp "$USER_DATA" "$seed/user"; else echo '#cloud-config' >"$seed/user"; fi
    printf 'instance-id: %s\nlocal-hostname: %s\n' "$(cat /proc/sys/kernel/random/uuid)" "$name" >"$seed/meta"
    # It has its name when it is complete; killed before, what it leaves is a file NAME.insp-XXXXXXXX that nobody uses.
    insp clone -q -a "$template" --method=overlay --output "$image" --new-ids --sysprep --hostname="$name" \
        --cloud-init "$seed/user:user-data" --cloud-init "$seed/meta:meta-data"
    printf '{"name": "%s", "image": "%s"}\n' "$name" "$image"
done
