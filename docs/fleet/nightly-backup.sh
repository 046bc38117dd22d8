#!/bin/sh
# SPDX-License-Identifier: CC0-1.0
#
# nightly-backup.sh DIRECTORY: backs up every image in a directory, keeps 7 daily, 4 weekly and 12 monthly backups of each,
# and checks the repository. For cron or a systemd timer. The repository and its password come from the environment
# as restic has it: RESTIC_REPOSITORY, RESTIC_PASSWORD_FILE.
#
# Prints a JSON object a line for each image. An image that can't be backed up (its guest is running, say) doesn't
# keep the others from it; the exit code is then 1.
set -u
directory=${1:?usage: nightly-backup.sh DIRECTORY}
status=0

for image in "$directory"/*.qcow2 "$directory"/*.raw "$directory"/*.img; do
    [ -f "$image" ] || continue
    # The name is what links the generations of a guest: the file's, without its ending.
    name=$(basename "$image")
    told=$(insp backup create -q --json --name "${name%.*}" --tag nightly "$image") || status=1
    printf '%s' "$told" | tr -d '\n'
    echo
done

# Of each guest. Where restic is installed it gives the space back.
prune=
command -v restic >/dev/null && prune=--prune
insp backup forget -q --keep-daily 7 --keep-weekly 4 --keep-monthly 12 $prune >&2 || status=1

# On Sundays all of it is read; on other days what is there is compared with what should be.
everything=
[ "$(date +%u)" != 7 ] || everything=--read-data
insp backup verify -q $everything >&2 || status=1
exit $status
