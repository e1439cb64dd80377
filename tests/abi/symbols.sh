#!/usr/bin/env bash
# symbols.sh LIBRARY LIST [--update]
# The library exports exactly the names in LIST, all under LIBSSE_0, and is
# called libsse.so.0 and stays loaded. With --update, writes LIST.
set -euo pipefail
export LC_ALL=C

library=$1 list=$2
names() { # without the version node itself
    nm -D --defined-only "$library" | awk '$2 != "A" { print $3 }' | sort
}

if [[ ${3-} == --update ]]; then
    names | sed 's/@.*//' >"$list"
    exit
fi
diff -u --label "$list" --label "exported" <(sed 's/$/@@LIBSSE_0/' "$list") <(names) || {
    echo "If that is meant: $0 $library $list --update" >&2
    exit 1
}
dynamic=$(readelf -d "$library")
grep -q 'SONAME.*\[libsse\.so\.0\]' <<<"$dynamic"
grep -q 'FLAGS_1.*NODELETE' <<<"$dynamic"
