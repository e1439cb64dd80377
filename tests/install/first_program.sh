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

# Below the heading that says "first program": the first ```c block, and the
# block behind it without the commands that it may show.
awk '
    !fenced && /^#/ { inside = tolower($0) ~ /first program/ }
    !/^```/ { if (inside && fenced && out && !/^\$ /) print >out; next }
    { fenced = !fenced }
    inside && fenced { out = out ? "expected" : /^```c$/ ? "app.c" : "" }
    !fenced && out == "expected" { exit }' "$root/README.md"
[[ -s app.c && -s expected ]] || {
    echo "README.md has no first program with its output" >&2
    exit 1
}

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
