"""Waiting for what only asking again can tell."""

import time
from collections.abc import Callable
from typing import Any

from suite.wire import TIMEOUT_S


def wait_until(
    true: Callable[[], Any], what: str = "", timeout_s: float = TIMEOUT_S
) -> Any:
    """Gives what it became; fails when that takes for ever."""
    deadline = time.monotonic() + timeout_s
    while not (value := true()):
        assert time.monotonic() < deadline, what or "it did not happen"
        time.sleep(0.01)
    return value
