"""Readers in an event loop."""

from __future__ import annotations

import weakref
from collections import deque
from typing import (
    TYPE_CHECKING,
    Any,
    Deque,
    Dict,
    Generic,
    List,
    Optional,
    Tuple,
    TypeVar,
)

from . import _core, sync
from ._door import Door
from ._events import Event, new_parser
from ._handles import Handle
from .errors import HubClosed, StreamEnded

if TYPE_CHECKING:
    from ._hub import Hub

T = TypeVar("T", Event, bytes)


class Subscription(Handle, Generic[T]):
    """A reader: `async for event in hub.subscribe(id)`. It is opened by the first
    step, or by `async with`, and ends behind the terminal event. `reason` says
    then why: ended, lagged, removed, closed, or shutdown."""

    def __init__(
        self, hub: Hub, id: str, cursor: str, raw: bool, options: Dict[str, int]
    ) -> None:
        self.stream_id: str = id
        self.reason: Optional[str] = None
        self._hub = hub
        self._cursor = cursor
        self._options = options
        self._parser = None if raw else new_parser()
        self._ready: Deque[T] = deque()
        self._door: Optional[Door] = None
        self._loop: Any = None  # the door's
        self._key = 0
        self._subscriber: Optional[_core.Subscriber] = None
        self._owed = False  # bytes are taken, and the next have not been asked for
        self._waiter: Any = None

    def __repr__(self) -> str:
        ended = f", {self.reason}" if self.reason is not None else ""
        return f"<Subscription of {self.stream_id}{ended}>"

    # ---- Opening ----

    async def open(self) -> None:
        """Raises what is wrong with the stream or the cursor; StreamEnded when the
        cursor is behind the terminal event, so that nothing will ever come."""
        if self._door is not None or self.reason is not None:
            return
        door = self._hub._doors.here()
        stream = await self._hub._run(self._hub.sync.open, self.stream_id)
        await self._open_on(door, stream)

    async def _open_on(self, door: Door, stream: sync.Stream) -> None:
        self._hub.check_going_on()
        self._key = self._hub._core.new_key()
        self._door = door
        self._loop = door.loop
        this = weakref.ref(self)

        def note(kind: int, reason: int, data: bytes) -> None:
            reader = this()
            if reader is not None:
                reader._note(kind, reason, data)

        # What comes before a thread has brought the handle is for who has opened it:
        # not for who was cancelled in here.
        early: List[Tuple[int, int, bytes]] = []
        door.handlers[self._key] = lambda *told: early.append(told)
        self._hub._readers.add(self)  # the hub may end meanwhile
        try:
            self._subscriber = await self._hub._run(
                _core.sse_subscriber_new,
                stream._handle,
                door.queue,
                self._cursor,
                {**self._options, "key": self._key},
            )
        except BaseException:
            self._drop()
            self._door = None  # the next step opens it again
            raise
        if self.reason is not None:  # it was ended before it was open
            self._drop()
            return
        door.handlers[self._key] = note
        for told in early:
            self._note(*told)

    async def __aenter__(self) -> Subscription[T]:
        try:
            await self.open()
        except StreamEnded:
            self.reason = "ended"
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    # ---- Reading ----

    def __aiter__(self) -> Subscription[T]:
        return self

    async def __anext__(self) -> T:
        if self._ready or await self._more():
            return self._ready.popleft()
        raise StopAsyncIteration

    def take_ready(self) -> List[T]:
        """What the next steps would give without waiting."""
        taken = list(self._ready)
        self._ready.clear()
        return taken

    async def _more(self) -> bool:
        """Waits for what comes next; false when that is nothing."""
        while not self._ready:
            if self.reason is not None:
                return False
            if self._door is None:
                await self.__aenter__()
                continue
            self._ask()
            if self._waiter is not None:
                raise RuntimeError("another task reads from this subscription")
            if self._hub._core.closed and self._subscriber is None:
                raise HubClosed("the hub has been closed")
            self._waiter = self._loop.new_waiter()
            try:
                await self._waiter
            finally:
                self._waiter = None
        return True

    def _note(self, kind: int, reason: int, data: Any) -> None:
        """On the loop's thread."""
        if kind == sync.NOTE_BYTES:
            self._owed = True
            if self._parser is None:
                self._ready.append(data)
            else:
                _core.sse_parser_take(self._parser, data, Event, self._ready)
                if not self._ready:  # a heartbeat, or the retry
                    self._ask()
                    return
        elif kind == sync.NOTE_END:
            self._finish(sync.REASONS[reason])
        if self._waiter is not None:
            self._loop.wake(self._waiter)

    def _ask(self) -> None:
        """For what comes next."""
        if self._owed and self._subscriber is not None:
            self._owed = False
            _core.sse_subscriber_next(self._subscriber)

    def _wake(self) -> None:
        if self._waiter is not None:
            self._loop.wake(self._waiter)

    # ---- The end ----

    def close(self) -> None:
        """Ends it, also while another task waits in it."""
        self._finish("closed")
        self._ready.clear()
        self._wake()

    def _end(self, reason: str) -> None:
        """Ends it, from any loop; what has come is still read."""

        def end() -> None:
            self._finish(reason)
            self._wake()

        self._loop.call_threadsafe(end)

    def _finish(self, reason: str) -> None:
        if self.reason is None:
            self.reason = reason
        self._drop()

    def _drop(self) -> None:
        self._subscriber = None
        self._hub._readers.discard(self)
        if self._door is not None:
            self._door.handlers.pop(self._key, None)

    def __del__(self) -> None:
        door = getattr(self, "_door", None)
        if door is not None:
            door.handlers.pop(self._key, None)
