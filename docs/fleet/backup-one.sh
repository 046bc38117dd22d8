#!/bin/sh
# SPDX-License-Identifier: CC0-1.0
#
# backup-one.sh LIST NUMBER: backs up the image in that line of a list (from 1): one task of an array job, whoever runs it.
# It may be run again, on any machine that sees the images and the repository: what is stored already is not
# stored twice, and backups of several machines into one repository don't disturb each other.
set -eu
list=${1:?usage: backup-one.sh LIST NUMBER} number=${2:?usage: backup-one.sh LIST NUMBER}
image=$(sed -n "${number}p" "$list")
[ -n "$image" ] || { echo "$list has no line $number" >&2; exit 2; }
name=$(basename "$image")
exec insp backup create -q --json --name "${name%.*}" --tag fleet "$image"
