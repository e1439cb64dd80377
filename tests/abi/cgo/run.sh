#!/usr/bin/env bash
# run.sh PREFIX WORK
# Builds the Go program against the library in PREFIX, and runs it.
set -euo pipefail
cd "$(dirname "$0")"

prefix=$1 work=$2
libdir=$(dirname "$(find "$prefix" -name libsse.so)")
mkdir -p "$work"
export PKG_CONFIG_PATH=$libdir/pkgconfig LD_LIBRARY_PATH=$libdir
export GOCACHE=$work/cache GOPATH=$work/path GOTOOLCHAIN=local GOFLAGS=

go vet .
go build -buildvcs=false -o "$work/program" .
"$work/program"
