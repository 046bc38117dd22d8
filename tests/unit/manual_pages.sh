#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Every command has a manual page, the page mentions every option of the command, and no option that isn't there.
# Usage: manual_pages.sh INSP DIRECTORY-OF-PAGES, these as scdoc's source after configuration.
set -u
insp=$1 pages=$2 failures=0
fail() { echo "$*"; failures=$((failures + 1)); }

machine=$("$insp" help --machine) || { echo "'$insp help --machine' failed"; exit 1; }

for command in $(echo "$machine" | awk -F'\t' '$1 == "command" { print $2 }'); do
    page=$pages/insp-$command.1.scd
    if [ ! -f "$page" ]; then fail "insp $command has no manual page"; continue; fi
    head -n 1 "$page" | grep -qx "insp-$command(1)" || fail "insp-$command.1: a wrong title"
    summary=$(echo "$machine" | awk -F'\t' -v c="$command" '$1 == "command" && $2 == c { print $3 }')
    grep -qxF "insp-$command - $summary" "$page" || fail "insp-$command.1: NAME is not '$summary'"
    for section in NAME SYNOPSIS DESCRIPTION OPTIONS 'EXIT STATUS' EXAMPLES 'SEE ALSO'; do
        grep -qx "# $section" "$page" || fail "insp-$command.1: no section $section"
    done
    grep -q '@[A-Z]*@' "$page" && fail "insp-$command.1: something was not filled in"
    grep -qF "*insp-$command*(1)" "$pages/insp.1.scd" || fail "insp.1 doesn't mention insp-$command"

    # In the shell itself: hundreds of processes would take longer than all the rest.
    mentioned=" $(grep -o -e '\*-[A-Za-z-]*\*' "$page" | tr -d '*' | sort -u | tr '\n' ' ')"
    options=" $(echo "$machine" |
        awk -F'\t' -v c="$command" '$1 == "option" && $2 == c { print $3; print $4 }' | grep -vx -e - | tr '\n' ' ')"
    for option in $options; do
        case $mentioned in *" $option "*) ;; *) fail "insp-$command.1 doesn't mention $option" ;; esac
    done
    # A page that promises more than there is. The other spellings of an option are not in the machine's list.
    for option in $mentioned; do
        case "$options -- " in *" $option "*) continue ;; esac
        case $option in --*) ;; *) continue ;; esac
        if "$insp" "$command" "$option" 2>&1 </dev/null | grep -q 'unknown option'; then
            fail "insp-$command.1 mentions $option, which doesn't exist"
        fi
    done
done

# What every command on a disk has is explained in insp(1).
for option in $(echo "$machine" | awk -F'\t' '$1 == "option" && $2 == "cat" { print $3; print $4 }' | grep -vx -e -); do
    grep -qF -e "*$option*" "$pages/insp.1.scd" || fail "insp.1 doesn't mention $option"
done

[ $failures = 0 ]
