#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# exports.sh LIBRARY INCLUDE-DIRECTORY: every function that a public header declares is exported by the shared library
# (libinspect/libinspect.map is written by hand).
set -euo pipefail
export LC_ALL=C
library=$1 include=$2
exported=$(nm -DC --defined-only "$library" | sed -E 's/^[0-9a-f]+ [A-Za-z] //; s/\[abi:cxx11\]//g')
status=0
# Functions begin a line; the members of a class are exported with it, so one of each will do.
for function in $(sed -nE 's/^[A-Za-z_][A-Za-z0-9_:<>, ]*[ &*]([a-z_]+)\(.*/\1/p' "$include"/inspect/*.h | sort -u); do
    grep -qE "^inspect::$function\(" <<<"$exported" || { echo "$function() is not exported"; status=1; }
done
for class in $(sed -nE 's/^class ([A-Za-z]+).*\{$/\1/p' "$include"/inspect/*.h | sort -u); do
    grep -qE "inspect::$class::" <<<"$exported" || { echo "the class $class is not exported"; status=1; }
done
exit $status
