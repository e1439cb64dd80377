"""Tells responses without a hub that the server wants to end. One look for all of a
loop, which begins with the first of them and ends with the last."""

from __future__ import annotations

from typing import Callable, Dict, Set

from . import _shutdown
from ._loop import Loop, here

Call = Callable[[], None]

_looks: Dict[int, _Look] = {}  # by the identity of their loop


class _Look:
    def __init__(self, loop: Loop) -> None:
        self.waiting: Set[Call] = set()
        self.ended: bool = False
        self.loop: Loop = loop
        self.stop: Call = _shutdown.watch(loop, self._server_ends)

    def _server_ends(self) -> None:
        self.ended = True
        for call in list(self.waiting):
            call()


def when_server_ends(call: Call) -> Call:
    """Calls back, on the loop's thread, when the server that runs in this loop wants
    to end. Gives what takes that back."""
    loop = here()
    look = _looks.get(id(loop))
    if look is None or look.loop is not loop:
        look = _looks[id(loop)] = _Look(loop)
    look.waiting.add(call)
    if look.ended:
        call()

    def forget() -> None:
        look.waiting.discard(call)
        if not look.waiting and _looks.get(id(loop)) is look:
            del _looks[id(loop)]
            look.stop()

    return forget
