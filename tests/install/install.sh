#!/usr/bin/env bash
# install.sh CMAKE BUILD_DIR PREFIX
# Installs into PREFIX and looks whether all of it is there and fits.
set -euo pipefail

cmake=$1 build=$2 prefix=$3
rm -rf "$prefix"
"$cmake" --install "$build" --prefix "$prefix"

libdir=$(dirname "$(find "$prefix" -name libsse.so)")
for file in "$prefix/include/sse.h" "$libdir"/libsse.{a,so.0} \
            "$libdir/pkgconfig/libsse.pc" \
            "$libdir/cmake/libsse/libsse-config.cmake"; do
    [[ -s $file ]] || { echo "missing: $file" >&2; exit 1; }
done

# The installed programs run on the installed library, wherever they are.
for program in sse sse-server; do
    [[ $(ldd "$prefix/bin/$program") == *"$prefix"*libsse.so.0* ]] ||
        { echo "$program does not find its library" >&2; exit 1; }
done
"$prefix/bin/sse" --help >/dev/null
! grep -rlF "$build/lib" "$libdir/pkgconfig" "$libdir/cmake" ||
    { echo "installed files name the build directory" >&2; exit 1; }
