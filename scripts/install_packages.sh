#!/usr/bin/env bash
# Installs the Debian packages for one or more of: build, test, bench.
# Says nothing and does nothing when they are there.
set -euo pipefail

build=(make cmake ninja-build gcc libc6-dev pkg-config libuv1-dev
       libhttp-parser-dev libcurl4-openssl-dev libhiredis-dev libssl-dev
       libcjson-dev)
test=(g++ clang clang-format libclang-rt-14-dev libcmocka-dev swig python3
      python3-venv python3-dev redis-server openssl chromium chromium-driver
      curl ca-certificates)
bench=(nginx libnginx-mod-nchan redis-server python3 curl)
command -v go >/dev/null || test+=(golang)
command -v npm >/dev/null || { test+=(nodejs npm); bench+=(nodejs npm); }

missing=()
for group in "$@"; do
    declare -n packages=$group
    for package in "${packages[@]}"; do
        dpkg -s "$package" 2>/dev/null | grep -q '^Status: .* installed$' ||
            missing+=("$package")
    done
done
((${#missing[@]})) || exit 0

if [[ $(id -u) != 0 ]]; then
    echo "Packages are missing; as root, run: apt-get install ${missing[*]}" >&2
    exit 1
fi

echo "Installing ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
trap 'rm -f "$log"' EXIT
for command in update "install -y --no-install-recommends ${missing[*]}"; do
    # shellcheck disable=SC2086 # the words are meant to split
    apt-get -q $command >"$log" 2>&1 </dev/null || {
        tail -n 20 "$log" >&2
        echo "apt-get ${command%% *} failed: the packages cannot be installed." >&2
        exit 1
    }
done
