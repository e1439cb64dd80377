#!/usr/bin/env bash
# Builds and runs every test, part by part. The last line is the sum, and the
# exit code says whether all of it passed.
set -uo pipefail
cd "$(dirname "$0")/.."

passed=0 failed=0 skipped=0
broken=() # the parts that did not pass

# Runs one part: a title, then a command. One that leaves no report counts as
# one test; `report` is the JUnit file it may write.
part() {
    local title=$1 report=build/reports/$((part_count += 1)).xml rc tests bad out
    local began=$SECONDS
    shift
    printf '\n== %s\n' "$title"
    rm -f "$report"
    REPORT=$PWD/$report "$@"
    rc=$?
    printf '%s took %d s\n' "$title" $((SECONDS - began))

    if [[ -s $report ]]; then
        tests=$(attribute tests "$report")
        bad=$(($(attribute failures "$report") + $(attribute errors "$report")))
        out=$(($(attribute skipped "$report") + $(attribute disabled "$report")))
    else
        tests=1 bad=0 out=0
    fi
    ((rc != 0 && bad == 0)) && bad=1 tests=$((tests > 0 ? tests : 1))
    ((bad > 0)) && broken+=("$title")
    passed=$((passed + tests - bad - out))
    failed=$((failed + bad))
    skipped=$((skipped + out))
}
part_count=0

# The number in name="..." of the first <testsuite> of a report, or 0.
attribute() {
    local number
    number=$(tr '\n\t' '  ' <"$2" | grep -o '<testsuite [^>]*' | head -n 1 |
             sed -n "s/.* $1=\"\([0-9]*\)\".*/\1/p")
    echo "${number:-0}"
}

# Builds a preset and runs its ctest tests.
run_preset() { # preset, configure command
    local log=build/reports/configure-$1.log

    $2 >"$log" 2>&1 || { cat "$log"; return 1; }
    cmake --build --preset "$1" || return 1
    "${no_aslr[@]}" ctest --preset "$1" --output-junit "$REPORT"
}

# Mostly, these tests wait: three at a time.
run_pytest() { # build directory, pytest arguments
    SSE_BUILD_DIR=$1 build/venv/bin/python -m pytest tests/net -q \
        -n 3 --dist loadfile -p no:cacheprovider --junitxml="$REPORT" "${@:2}"
}

# gcc's ThreadSanitizer cannot live with much address randomisation.
no_aslr=()
setarch -R true 2>/dev/null && no_aslr=(setarch -R)

mkdir -p build/reports
part "release" run_preset release \
    "${CONFIGURE_RELEASE:-cmake --preset release} -DLIBSSE_TESTS=ON"
part "address and undefined behaviour sanitizers" run_preset asan \
    "cmake --preset asan"
part "thread sanitizer" run_preset tsan "cmake --preset tsan"
part "clang" run_preset clang "cmake --preset clang"
if [[ -d tests/net ]]; then
    part "Python packages" scripts/venv.sh
    part "formatting" scripts/format.sh --check
    part "network tests, release" run_pytest build
    part "network tests, address sanitizer" run_pytest build-asan -m asan
fi
if [[ -d bindings/python ]]; then
    binding=scripts/python_tests.sh
    part "Python binding, installed" $binding install
    part "Python binding, types" $binding types
    part "Python binding" $binding tests
    part "Python binding, under each server" $binding suite
    part "Python binding, packages" $binding packaging
    for python in $($binding others); do
        part "Python binding, $python" $binding other "$python"
    done
    part "Python binding, address sanitizer" $binding asan
    part "Python binding, checks of CPython" $binding dev
fi

echo
((${#broken[@]})) && printf 'did not pass: %s\n' "${broken[@]}"
((skipped)) && echo "$skipped skipped"
echo "$passed passed, $failed failed"
((failed == 0))
