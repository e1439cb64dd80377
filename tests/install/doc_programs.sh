#!/usr/bin/env bash
# doc_programs.sh PREFIX WORK
# Builds the programs of docs/c.md and docs/client.md against PREFIX and runs
# them: the server is asked for its stream and stopped, the others must print
# what the page says.
set -euo pipefail

prefix=$1 work=$2/doc_programs
root=$(cd "$(dirname "$0")/../.." && pwd)
libdir=$(dirname "$(find "$prefix" -name libsse.so)")
export PKG_CONFIG_PATH=$libdir/pkgconfig LD_LIBRARY_PATH=$libdir
server=
trap '[[ -z $server ]] || kill -9 $server 2>/dev/null || true' EXIT

# Each fenced block of a page becomes a file in the directory that is made for
# it: 1.c, 2.c, ... and 1.out for one without a language, numbered by the
# program before it. The rest of the arguments are files that must be there.
build() { # page, files
    rm -rf "$work/$1"
    mkdir -p "$work/$1"
    cd "$work/$1"
    awk '
        /^```/ && fenced { fenced = 0; next }
        /^```c$/ { fenced = 1; file = ++n ".c"; next }
        /^```$/ { fenced = 1; file = n ".out"; next }
        fenced { print > file }' "$root/docs/$1.md"
    for file in "${@:2}"; do
        [[ -s $file ]] || { echo "docs/$1.md has changed" >&2; exit 1; }
    done
    for program in *.c; do
        cc -std=gnu11 -Wall -Wextra -Werror "$program" \
            $(pkg-config --cflags --libs libsse) -o "${program%.c}"
    done
}

# Waits for a text in a file that process $1 writes.
await() { # process, text, file
    until grep -qs "$2" "$3"; do
        kill -0 "$1"
        sleep 0.05
    done
}

build c 1.c 2.c 2.out
./2 | diff -u 2.out -

./1 >url &
server=$!
await $server http url
curl -sN --max-time 30 "$(cat url)" >answer &
reader=$!
await $reader 'data: it works' answer
kill -TERM $server
wait $reader # a complete response: curl would say 18 otherwise
wait $server

build client 1.c 1.out 2.c
"$prefix/bin/sse-server" --port 0 >log &
server=$!
await $server listening log
url=$(sed -n 's/^listening on //p' log)/api/stream/news
printf 'one\ntwo\n' | "$prefix/bin/sse" pub "$url"
"$prefix/bin/sse" cat "$url" | diff -u <(printf 'one\ntwo\n') -
./1 "$url" | diff -u 1.out -
./2 "$url" position | diff -u <(printf 'one\ntwo\n{}\n') -
./2 "$url" position | diff -u /dev/null - # it was there
kill -TERM $server
wait $server
server=
