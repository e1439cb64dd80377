#!/usr/bin/env bash
# first_program.sh WAY PREFIX WORK
# Builds the README's first program against PREFIX, as a reader would, and
# compares what it prints with what the README says. WAY is pkg-config or a
# target of the CMake package.
set -euo pipefail

way=$1 prefix=$2 work=$3/${1//:/_}
root=$(cd "$(dirname "$0")/../.." && pwd)
libdir=$(dirname "$(find "$prefix" -name libsse.so)")
rm -rf "$work"
mkdir -p "$work"
cd "$work"

# The N-th fenced block below the heading that says "first program".
block() {
    awk -v wanted="$1" '
        !fenced && /^#/ { inside = tolower($0) ~ /first program/ }
        inside && /^```/ { fenced = !fenced; count += fenced; next }
        inside && fenced && count == wanted' "$root/README.md"
}

# The first ```c block, and the block behind it.
c_block=$(awk '
    !fenced && /^#/ { inside = tolower($0) ~ /first program/ }
    inside && /^```/ { fenced = !fenced; count += fenced }
    inside && fenced && /^```c$/ { print count; exit }' "$root/README.md")
[[ -n $c_block ]] || { echo "README.md has no first program" >&2; exit 1; }
block "$c_block" >app.c
block $((c_block + 1)) >expected

if [[ $way == pkg-config ]]; then
    export PKG_CONFIG_PATH=$libdir/pkgconfig
    cc app.c $(pkg-config --cflags --libs libsse) -o app
else
    cat >CMakeLists.txt <<END
cmake_minimum_required(VERSION 3.25)
project(app LANGUAGES C)
find_package(libsse 0.1 REQUIRED)
add_executable(app app.c)
target_link_libraries(app PRIVATE $way)
END
    cmake -S . -B . -G Ninja -DCMAKE_PREFIX_PATH="$prefix"
    cmake --build .
fi

LD_LIBRARY_PATH=$libdir ./app >actual
cat actual
diff -u expected actual
