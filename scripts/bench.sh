#!/usr/bin/env bash
# Runs the benchmarks, if this checkout has them.
set -euo pipefail
cd "$(dirname "$0")/.."

if [[ ! -e bench/run ]]; then
    echo "There are no benchmarks yet: bench/run does not exist."
    exit 0
fi
exec bench/run "$@"
