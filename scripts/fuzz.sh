#!/usr/bin/env bash
# Runs every libFuzzer target for SECONDS_EACH (60) seconds. New inputs go to
# build-fuzz/corpus; what crashes stays in build-fuzz/crashes.
set -euo pipefail
cd "$(dirname "$0")/.."

cmake --preset fuzz
cmake --build --preset fuzz
mkdir -p build-fuzz/crashes
for target in build-fuzz/tests/*_fuzz; do
    name=$(basename "$target" _fuzz)
    echo "== $name"
    mkdir -p "build-fuzz/corpus/$name" "tests/fuzz/corpus/$name"
    "$target" -max_total_time="${SECONDS_EACH:-60}" -timeout=5 \
        -artifact_prefix=build-fuzz/crashes/"$name"- -print_final_stats=1 \
        "build-fuzz/corpus/$name" "tests/fuzz/corpus/$name"
done
