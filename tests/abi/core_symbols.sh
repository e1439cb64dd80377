#!/usr/bin/env bash
# core_symbols.sh ARCHIVE ALLOWED
# Whatever the objects of the core need from outside stands in ALLOWED: no
# clock, lock, thread, socket, file or foreign library.
set -euo pipefail
export LC_ALL=C

archive=$1 allowed=$2
needed=$(comm -23 <(nm -u "$archive" | awk '$1 == "U" { print $2 }' | sort -u) \
                  <(nm --defined-only "$archive" | awk 'NF == 3 { print $3 }' | sort -u))
foreign=$(comm -23 <(echo "$needed") <(grep -v '^#' "$allowed" | sort))

echo "The core needs: ${needed//$'\n'/ }"
[[ -n $needed ]] || { echo "$archive needs nothing: is it empty?" >&2; exit 1; }
[[ -z $foreign ]] || { echo "Not allowed: ${foreign//$'\n'/ }" >&2; exit 1; }
