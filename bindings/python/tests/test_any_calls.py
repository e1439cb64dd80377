"""Nothing that a program calls crashes, hangs, or raises what nobody has promised: see
any_calls.py, which does it at random. SSE_TEST_SEED gives another seed; what comes
first still differs, as threads do."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).with_name("any_calls.py")
STEPS = 200
# As nobody promises a fork in the middle of their allocator.
SANITIZED = "asan" in os.environ.get("LD_PRELOAD", "")


@pytest.mark.parametrize("end", ["return", "exit", "alarm", "fork"])
def test_any_calls(end: str) -> None:
    if end == "fork" and SANITIZED:
        pytest.skip("the sanitizers do not promise a fork among threads")
    seed = os.environ.get("SSE_TEST_SEED", "1")
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", str(PROGRAM), seed, str(STEPS), end],
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        timeout=170,
    )
    assert done.returncode == 0, done.stderr
