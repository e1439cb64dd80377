"""The one door of a hub into an event loop: a queue, whose descriptor the loop
watches. However much comes at once, it is one wake-up, drained in batches."""

from __future__ import annotations

import asyncio
from typing import Callable, Dict, Tuple

from . import _core
from ._hub_core import HubCore

Handler = Callable[[int, int, bytes], None]

BATCH = 256
BATCHES = 4  # in one turn of the loop, which others want too


class Door:
    def __init__(self, hub: HubCore, loop: asyncio.AbstractEventLoop) -> None:
        self.queue = _core.sse_queue_new(hub.handle, None)
        self.handlers: Dict[int, Handler] = {}  # by the key in a note
        self._loop = loop
        self._fd = _core.sse_queue_fd(self.queue)
        loop.add_reader(self._fd, self._readable)

    def close(self) -> None:
        """On the loop's thread, before the queue and its descriptor go."""
        self.handlers.clear()
        if not self._loop.is_closed():
            self._loop.remove_reader(self._fd)

    def _readable(self) -> None:
        """The descriptor stays readable until a drain has given nothing, so what
        is left after a few batches comes in the loop's next turn."""
        handlers = self.handlers
        for _ in range(BATCHES):
            notes = _core.sse_queue_drain(self.queue, BATCH)
            if not notes:
                return
            for kind, reason, key, data in notes:
                handler = handlers.get(key)
                if handler is not None:
                    handler(kind, reason, data)


class Doors:
    """A hub's doors, one for each event loop that uses it."""

    def __init__(self, hub: HubCore) -> None:
        self._hub = hub
        self._doors: Dict[int, Tuple[asyncio.AbstractEventLoop, Door]] = {}
        hub.on_fork.append(self._doors.clear)

    def here(self) -> Door:
        """The running loop's."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # none, or Trio's
            told = "this needs a running asyncio event loop; elsewhere, use hub.sync"
            raise RuntimeError(told) from None
        known = self._doors.get(id(loop))
        if known is not None and known[0] is loop:
            return known[1]
        for key, (other, _) in list(self._doors.items()):
            if other.is_closed():
                self._doors.pop(key, None)
        door = Door(self._hub, loop)
        self._doors[id(loop)] = (loop, door)
        return door

    def close(self) -> None:
        """The running loop's door, and those of loops that are no more."""
        loop = asyncio.get_running_loop()
        for key, (other, door) in list(self._doors.items()):
            if other is loop or other.is_closed():
                door.close()
                self._doors.pop(key, None)
