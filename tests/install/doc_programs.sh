#!/usr/bin/env bash
# doc_programs.sh PREFIX WORK
# Builds the programs of docs/c.md against PREFIX and runs them: the server is
# asked for its stream and stopped, the other one must print what the page says.
set -euo pipefail

prefix=$1 work=$2/doc_programs
root=$(cd "$(dirname "$0")/../.." && pwd)
libdir=$(dirname "$(find "$prefix" -name libsse.so)")
rm -rf "$work"
mkdir -p "$work"
cd "$work"

# Each fenced block becomes a file: 1.c, 2.c, ... and 1.out for one without a
# language, numbered by the program before it.
awk '
    /^```/ && fenced { fenced = 0; next }
    /^```c$/ { fenced = 1; file = ++n ".c"; next }
    /^```$/ { fenced = 1; file = n ".out"; next }
    fenced { print > file }' "$root/docs/c.md"
[[ -s 1.c && -s 2.c && -s 2.out ]] || { echo "docs/c.md has changed" >&2; exit 1; }

export PKG_CONFIG_PATH=$libdir/pkgconfig LD_LIBRARY_PATH=$libdir
for program in *.c; do
    cc -std=gnu11 -Wall -Wextra -Werror "$program" \
        $(pkg-config --cflags --libs libsse) -o "${program%.c}"
done

./2 | diff -u 2.out -

./1 >url &
server=$!
trap 'kill -9 $server 2>/dev/null || true' EXIT
until [[ -s url ]]; do
    kill -0 $server
    sleep 0.05
done
curl -sN --max-time 30 "$(cat url)" >answer &
reader=$!
until grep -q 'data: it works' answer; do
    kill -0 $reader
    sleep 0.05
done
kill -TERM $server
wait $reader # a complete response: curl would say 18 otherwise
wait $server
trap - EXIT
