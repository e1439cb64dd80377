#!/usr/bin/env bash
# header.sh INCLUDE_DIR SYMBOLS
# sse.h stands alone in C11 and C++11, without a warning and without padding
# in any struct; and SYMBOLS lists exactly its functions.
set -euo pipefail
export LC_ALL=C

include=$1 symbols=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
echo '#include <sse.h>' | tee "$work/alone.c" >"$work/alone.cpp"

warnings=(-Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wpadded -Werror)
for compiler in "gcc -std=c11" "clang -std=c11" "g++ -std=c++11" "clang++ -std=c++11"; do
    source=$work/alone.c
    [[ $compiler == *++* ]] && source=$work/alone.cpp
    echo "$compiler"
    $compiler "${warnings[@]}" -I"$include" -fsyntax-only "$source"
done

diff -u --label "$symbols" --label sse.h "$symbols" <(
    gcc -E -P -DSSE_API=SSE_API_ -I"$include" "$work/alone.c" | tr '\n' ' ' |
        grep -o 'SSE_API_ [^;]*' | grep -oP '^[^(]*?\Ksse_[a-z0-9_]+(?= *\()' | sort)
