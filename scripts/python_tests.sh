#!/usr/bin/env bash
# One part of the Python binding's tests; $REPORT is its JUnit report.
#
#   install       builds and installs the binding as a user does
#   types         the hints, as mypy and Pyright see them
#   tests         everything but the suite and the packages
#   suite         the HTTP suite under each server
#   packaging     an sdist, a wheel out of it, and that wheel repaired
#   others        lists the other CPythons that are here
#   other PYTHON  most of the tests in one of them, with what `packaging` made
#   asan          the tests of memory, with the sanitizers in the extension
#   dev           the same with CPython's own checks
set -euo pipefail
cd "$(dirname "$0")/.."

binding=bindings/python
at=$PWD/build/python
main=$at/venv
export PIP_DISABLE_PIP_VERSION_CHECK=1

# Where a crash of Python or a lock in C would leave nothing, or never end.
STALLED_S=900
# What hands objects to C, or lives in other threads.
memory=(test_any_calls.py test_api.py test_client.py test_interrupts.py
        test_lifetimes.py test_process.py test_producers.py test_redis.py test_respond.py
        test_wrong_types.py)

python_of_system() {
    if [[ -x /usr/bin/python3 ]]; then echo /usr/bin/python3; else echo python3; fi
}

new_venv() { # where, python
    rm -rf "$1"
    "$2" -m venv "$1"
}

run_pytest() { # python, arguments
    timeout --signal=ABRT "$STALLED_S" "$1" -X faulthandler -m pytest \
        -c $binding/pyproject.toml --rootdir $binding -q -p no:cacheprovider \
        ${REPORT:+--junitxml="$REPORT"} "${@:2}"
}

test_files() { # names of files
    printf "$binding/tests/%s\n" "$@"
}

install() {
    new_venv "$main" "$(python_of_system)"
    "$main/bin/pip" install -q ./$binding
    "$main/bin/pip" install -q -r $binding/tests/requirements.txt \
        -r $binding/tests/requirements-tools.txt -c $binding/tests/constraints.txt
}

others() { # from the oldest on, without the one that has run everything
    local minor main_minor found
    main_minor=$("$main/bin/python" -c 'import sys; print(sys.version_info.minor)')
    for minor in {9..20}; do
        ((minor == main_minor)) && continue
        for found in "$(command -v "python3.$minor")" \
                     ~/.pyenv/versions/3."$minor".*/bin/python3."$minor"; do
            # A shim may stand for nothing; Debian has venv apart.
            "$found" -c 'import ensurepip, venv' 2>/dev/null || continue
            echo "$found"
            break
        done
    done
}

other() { # python
    local name venv from tests=("${memory[@]}")
    name=$("$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    venv=$at/$name
    new_venv "$venv" "$1"
    if [[ $name == 3.9 || $name == 3.10 ]]; then # for which the wheel is not
        from=("$at"/dist/libsse-*.tar.gz)
        tests+=(test_suite.py)
    else
        from=("$at"/dist/libsse-*manylinux*.whl)
    fi
    "$venv/bin/pip" install -q "${from[@]}" -r $binding/tests/requirements.txt
    # shellcheck disable=SC2046 # file names without spaces
    run_pytest "$venv/bin/python" -n 2 $(test_files "${tests[@]}")
}

asan() {
    local packages=$at/asan logs=$at/asan-reports
    rm -rf "$packages" "$logs"
    mkdir -p "$logs"
    "$main/bin/pip" install -q --no-deps --target "$packages" \
        --config-settings cmake.build-type=Debug --config-settings install.strip=false \
        --config-settings cmake.define.CMAKE_C_FLAGS_DEBUG="-O1 -g" \
        --config-settings cmake.define.LIBSSE_WERROR=ON \
        --config-settings cmake.define.LIBSSE_SANITIZE=address,undefined ./$binding

    # CPython itself never frees all it has, so leaks are for other tests. A
    # report of a child, whose output a test may not show, is a file.
    # shellcheck disable=SC2046
    LD_PRELOAD=$(gcc -print-file-name=libasan.so) PYTHONMALLOC=malloc \
        ASAN_OPTIONS=detect_leaks=0:strict_string_checks=1:log_path="$logs/asan" \
        UBSAN_OPTIONS=print_stacktrace=1:log_path="$logs/ubsan" \
        PYTHONPATH=$packages \
        run_pytest "$main/bin/python" -n 2 $(test_files "${memory[@]}") ||
        { cat "$logs"/* 2>/dev/null; return 1; }
    cat "$logs"/* 2>/dev/null && return 1 # there is one, and a test went on
    return 0
}

dev() {
    # shellcheck disable=SC2046
    PYTHONMALLOC=debug PYTHONDEVMODE=1 \
        run_pytest "$main/bin/python" -n 2 $(test_files "${memory[@]}")
}

case $1 in
install | others | asan | dev) "$1" ;;
other) other "$2" ;;
types) run_pytest "$main/bin/python" $binding/tests/test_types.py ;;
suite) run_pytest "$main/bin/python" -n 2 --server all \
           $binding/tests/test_suite.py ;;
packaging) rm -rf "$at/dist"; run_pytest "$main/bin/python" -m packaging --keep "$at/dist" \
               $binding/tests ;;
tests) run_pytest "$main/bin/python" -n 2 -m "not packaging" \
           $(printf -- '--ignore=%s ' $(test_files test_suite.py test_types.py)) \
           $binding/tests ;;
*) echo "python_tests.sh: there is no part $1" >&2; exit 2 ;;
esac
