#!/usr/bin/env bash
# Makes build/venv with what tests/requirements.txt lists; quick when it did.
set -euo pipefail
cd "$(dirname "$0")/.."

cmp -s tests/requirements.txt build/venv/requirements.txt && exit 0
rm -rf build/venv
python3 -m venv build/venv
build/venv/bin/python -m pip install -q --disable-pip-version-check \
    -r tests/requirements.txt
cp tests/requirements.txt build/venv/requirements.txt
