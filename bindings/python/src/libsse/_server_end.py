"""Tells responses without a hub that the server wants to end. One look for all of a
loop, which begins with the first of them and ends with the last."""

from __future__ import annotations

import asyncio
import sys
import threading
from types import SimpleNamespace
from typing import Any, Callable, Dict, Set, Tuple

from . import _shutdown

Call = Callable[[], None]

_looks: Dict[int, Tuple[Any, "_Look"]] = {}  # with their loop, by its identity


class _Look:
    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.waiting: Set[Call] = set()
        self.ended: bool = False
        self.stop: Call = _watch(loop, self._server_ends)

    def _server_ends(self) -> None:
        self.ended = True
        for call in list(self.waiting):
            call()


def _watch(loop: asyncio.AbstractEventLoop, begin: Call) -> Call:
    is_ending = _shutdown.find_server()
    if is_ending is None:
        if threading.current_thread() is not threading.main_thread():
            return lambda: None
        told: Any = SimpleNamespace(begin_shutdown=begin)
        return _shutdown._wrap_signals(loop, told)

    async def look() -> None:
        while not is_ending():
            await asyncio.sleep(_shutdown.LOOK_S)
        begin()

    task = loop.create_task(look())

    def stop() -> None:
        task.cancel()

    return stop


def when_server_ends(call: Call) -> Call:
    """Calls back, on the loop's thread, when the server that runs in this loop wants
    to end. Gives what takes that back."""
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return lambda: None
    known = _looks.get(id(loop))
    if known is None or known[0] is not loop:
        known = _looks[id(loop)] = loop, _Look(loop)
    look = known[1]
    look.waiting.add(call)
    if look.ended:
        call()

    def forget() -> None:
        look.waiting.discard(call)
        if not look.waiting and _looks.pop(id(loop), None) is not None:
            look.stop()

    return forget


def call_here() -> Callable[[Call], None]:
    """What has a call made on this loop's thread, from any other."""
    trio: Any = sys.modules.get("trio")
    if trio is not None and trio.lowlevel.in_trio_run():
        make, over = trio.lowlevel.current_trio_token().run_sync_soon, Exception
    else:
        make, over = asyncio.get_running_loop().call_soon_threadsafe, RuntimeError

    def later(call: Call) -> None:
        try:
            make(call)
        except over:  # the loop is no more
            pass

    return later
