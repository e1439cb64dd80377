#!/usr/bin/env bash
# Formats C and Python. With --check, it shows what that would change, and what
# Ruff finds, and fails when there is anything.
set -euo pipefail
cd "$(dirname "$0")/.."

python=(tests bench bench/run bindings/python)
ruff=build/venv/bin/ruff # of one version, for all

sources() {
    find bench bindings libsse server-example tests tools -name '*.c' \
        -not -path '*/node_modules/*' -not -path '*/venv/*'
}

if [[ ${1-} != --check ]]; then
    sources | xargs clang-format -i
    $ruff format "${python[@]}"
    exit
fi

failed=0
while read -r file; do
    clang-format "$file" |
        diff -u --label "$file" --label "$file, formatted" "$file" - || failed=1
done < <(sources)
$ruff format --diff "${python[@]}" || failed=1
$ruff check "${python[@]}" || failed=1
exit $failed
