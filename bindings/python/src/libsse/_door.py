"""The one door of a hub into an event loop: a queue, whose descriptor the loop
watches. However much comes at once, it is one wake-up, drained in batches.

What is sent in the loop itself needs no wake-up: the loop is asked for a turn, and
the queue to keep quiet until then."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections import deque
from time import monotonic
from typing import Any, Callable, Deque, Dict, Optional

from . import _core, _loop, _shutdown, sync
from ._hub_core import HubCore
from .errors import InvalidArgument

Handler = Callable[[int, int, bytes], None]

log = logging.getLogger("libsse")

BATCH = 64  # in one turn of the loop, which others want too
BUSY_S = 0.0002  # between two events: less is a row of them
HOLD_S = 0.001  # what comes in a row waits for more
SENDS = 64  # by one producer without giving the loop a turn


class Door:
    def __init__(self, hub: HubCore, loop: _loop.Loop) -> None:
        self.queue: Any = _core.sse_queue_new(hub.handle, None)  # None when closed
        self.handlers: Dict[int, Handler] = {}  # by the key in a note
        self.loop: _loop.Loop = loop
        self._notes: Deque[_core._Note] = deque()  # taken, and not yet handed over
        self.is_closed: bool = False
        self._call_soon: Any = loop.call_soon
        self._context = contextvars.copy_context()  # nobody's in particular
        self._coming = False  # a turn is due, and the queue keeps quiet
        self._fresh = False  # more was sent since the last turn
        self._hold_until = 0.0  # what is fresh may wait for what comes next
        self._busy_until = 0.0  # what is sent before comes in a row
        self._unwatch = loop.watch(_core.sse_queue_fd(self.queue), self._readable)
        self._unwatch_server: Optional[Callable[[], None]] = None

    def watch_server(self, begin_shutdown: Callable[[], None]) -> None:
        """So that open responses end when the loop's server wants to end."""
        if self._unwatch_server is None:
            self._unwatch_server = _shutdown.watch(self.loop, begin_shutdown)

    def close(self) -> None:
        """On the loop's thread. The queue goes, whoever still has the door: it would
        keep the hub alive."""
        self.is_closed = True
        self.handlers.clear()
        self._notes.clear()
        self._unwatch()
        self.queue = None
        if self._unwatch_server is not None:
            self._unwatch_server()

    def send(self, stream: sync.Stream, data: Any, type: str) -> str:
        """Appends, on the loop's own thread. A first event goes to its readers at
        once; when others follow it closely, a turn of the loop is asked for."""
        if self._coming:
            self._fresh = True
            return stream.send(data, type)
        if self._call_soon is None:
            return stream.send(data, type)
        now = monotonic()
        is_busy = now < self._busy_until
        self._busy_until = now + BUSY_S
        if is_busy:
            _core.sse_queue_hush(self.queue)
            self._come()
            return stream.send(data, type)
        if data.__class__ is not str or type.__class__ is not str:
            data, type = sync.payload(data, type)
        handle = stream._core or stream._handle
        is_armed = False
        try:
            id, is_armed = _core.sse_send(
                self.queue, handle, type, data, BATCH, self._notes
            )
        except InvalidArgument:
            raise sync.bad_type() from None
        finally:
            if not is_armed:
                self._come()
        if self._notes:
            # A copy: who sends may be called by what is handed over.
            self._context.copy().run(self._hand_over)
        return id

    def _readable(self) -> None:
        """The descriptor stays readable until a drain has given nothing."""
        if not self._coming:
            self._flush()

    def _flush(self) -> None:
        """Drains until there is nothing, or for now enough."""
        count = BATCH
        try:
            count = self._drain()
            if 0 < count < BATCH:
                count = self._drain()
        finally:
            if count > 0:
                self._come()

    def _come(self) -> None:
        if self._call_soon is not None and not self._coming:
            self._coming = True
            self._call_soon(self._turn, context=self._context)

    def _turn(self) -> None:
        """Drains once, and comes again until there is nothing. A producer that sends
        in each turn of the loop is let go on for a moment, unless readers are behind:
        they then get many events in one piece."""
        is_held = self._fresh and monotonic() < self._hold_until
        self._coming = self._fresh = False
        count = BATCH
        try:
            if not is_held:
                count = self._drain()
        finally:
            if count > 0:
                self._come()
            if not is_held:
                self._hold_until = 0.0 if count == BATCH else monotonic() + HOLD_S

    def _drain(self) -> int:
        if self.is_closed:
            return 0
        count = _core.sse_queue_drain(self.queue, BATCH, self._notes)
        self._hand_over()
        return count

    async def hand_over_all(self) -> None:
        """Returns when readers have taken what there is, or take no more: not for
        some turns of the loop, as they need one or two to ask for more."""
        idle = 0
        while idle < 4:
            idle = idle + 1 if self._drain() == 0 else 0
            await self.loop.sleep(0)

    def _hand_over(self) -> None:
        """What goes wrong with one must not concern others, nor who has sent."""
        handlers, notes = self.handlers, self._notes
        try:
            while notes:
                kind, reason, key, data = notes.popleft()
                handler = handlers.get(key)
                if handler is not None:
                    try:
                        handler(kind, reason, data)
                    except Exception:
                        log.exception("what came from the hub cannot be handed over")
        finally:
            if notes:  # it was interrupted
                self._come()


class Doors:
    """A hub's doors, one for each event loop that uses it."""

    def __init__(self, hub: HubCore) -> None:
        self._hub = hub
        self._doors: Dict[int, Door] = {}  # by the identity of its loop
        self._by_asyncio: Dict[Any, Door] = {}  # by asyncio's own loop
        hub.on_fork.append(self._clear)

    def _clear(self) -> None:
        self._doors.clear()
        self._by_asyncio.clear()

    async def hand_over_all(self) -> None:
        """Of the running loop's, if it has one."""
        door = self._doors.get(id(_loop.here()))
        if door is not None:
            await door.hand_over_all()

    def near(self) -> Optional[Door]:
        """That of asyncio's running loop, if it has one: in a hurry."""
        try:
            return self._by_asyncio.get(asyncio.get_running_loop())
        except RuntimeError:  # Trio
            return None

    def here(self) -> Door:
        """The running loop's."""
        loop = _loop.here()
        door = self._doors.get(id(loop))
        if door is None:
            self._drop(lambda other: other.is_closed)
            door = self._doors[id(loop)] = Door(self._hub, loop)
            if loop.call_soon is not None:
                self._by_asyncio[asyncio.get_running_loop()] = door
        return door

    def close(self, here: Optional[_loop.Loop]) -> None:
        """Those of other loops soon, by their threads: queues would keep the hub
        alive."""
        self._drop(lambda other: other is here or other.is_closed)
        doors = list(self._doors.values())
        self._clear()
        for door in doors:
            door.loop.call_threadsafe(door.close)

    def __del__(self) -> None:
        """Of a hub that nobody has closed: its loops would keep the doors."""
        self.close(None)

    def _drop(self, is_meant: Callable[[_loop.Loop], bool]) -> None:
        for key, door in list(self._doors.items()):
            if is_meant(door.loop):
                door.close()
                self._doors.pop(key, None)
        for near, door in list(self._by_asyncio.items()):
            if door.is_closed:
                self._by_asyncio.pop(near, None)
