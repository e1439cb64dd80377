"""The one door of a hub into an event loop: a queue, whose descriptor the loop
watches. However much comes at once, it is one wake-up, drained in batches."""

from __future__ import annotations

from typing import Callable, Dict, Optional

from . import _core, _loop, _shutdown
from ._hub_core import HubCore

Handler = Callable[[int, int, bytes], None]

BATCH = 256
BATCHES = 4  # in one turn of the loop, which others want too


class Door:
    def __init__(self, hub: HubCore, loop: _loop.Loop) -> None:
        self.queue: _core.Queue = _core.sse_queue_new(hub.handle, None)
        self.handlers: Dict[int, Handler] = {}  # by the key in a note
        self.loop: _loop.Loop = loop
        self._unwatch = loop.watch(_core.sse_queue_fd(self.queue), self._readable)
        self._unwatch_server: Optional[Callable[[], None]] = None

    def watch_server(self, begin_shutdown: Callable[[], None]) -> None:
        """So that open responses end when the loop's server wants to end."""
        if self._unwatch_server is None:
            self._unwatch_server = _shutdown.watch(self.loop, begin_shutdown)

    def close(self) -> None:
        """On the loop's thread, before the queue and its descriptor go."""
        self.handlers.clear()
        self._unwatch()
        if self._unwatch_server is not None:
            self._unwatch_server()

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
        self._doors: Dict[int, Door] = {}  # by the identity of its loop
        hub.on_fork.append(self._doors.clear)

    def here(self) -> Door:
        """The running loop's."""
        loop = _loop.here()
        door = self._doors.get(id(loop))
        if door is None:
            self._drop(lambda other: other.is_closed)
            door = self._doors[id(loop)] = Door(self._hub, loop)
        return door

    def close(self) -> None:
        """The running loop's door, and those of loops that are no more."""
        loop = _loop.here()
        self._drop(lambda other: other is loop or other.is_closed)

    def _drop(self, is_meant: Callable[[_loop.Loop], bool]) -> None:
        for key, door in list(self._doors.items()):
            if is_meant(door.loop):
                door.close()
                self._doors.pop(key, None)
