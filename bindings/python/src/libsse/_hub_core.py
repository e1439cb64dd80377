"""The handle of a hub: opened at first use, closed once, reopened in a child."""

from __future__ import annotations

import atexit
import itertools
import logging
import os
import weakref
from functools import partial
from typing import Any, Callable, Dict, Iterator, List, Optional

from . import _core
from ._events import check_text, without_secrets
from ._handles import First
from ._options import BLOCK, split
from .errors import HubClosed, InvalidArgument, StoreUnavailable, TimedOut

log = logging.getLogger("libsse")

FLUSH_MS = 5000  # for what the store has not had, when a hub ends


class Members:
    """What ends with a hub, and is not kept alive by it. Any thread; without a lock,
    as First."""

    def __init__(self) -> None:
        self._members: Dict[int, weakref.ref[Any]] = {}  # by their identity

    def add(self, member: Any) -> None:
        key = id(member)
        self._members[key] = weakref.ref(member, partial(self._members.pop, key))

    def discard(self, member: Any) -> None:
        self._members.pop(id(member), None)

    def __iter__(self) -> Iterator[Any]:
        members = [known() for known in list(self._members.values())]
        return iter([member for member in members if member is not None])


_hubs = Members()


class HubCore:
    """What the two faces of a hub, for asyncio and for threads, share."""

    def __init__(self, url: str, options: Dict[str, Any]) -> None:
        self.url: str = check_text("url", url)
        self.has_store: bool = url not in ("", "memory:")
        if self.has_store and "://" not in url:
            raise InvalidArgument(
                'the url is "memory:", or that of a store, as redis://localhost'
            )
        self.options: Dict[str, int]
        self.options, self._store_options = split(options)
        _core.sse_hub_new(self.options)  # refuses what there is not, here and now
        self.closed: bool = False
        self.expose_errors: bool = False
        self.waits: bool = self.has_store or self.options.get("slow_policy") == BLOCK
        self._opened: First[_core.Hub] = First()
        self._keys = itertools.count(1)
        self.streams: Members = Members()
        self.readers: Members = Members()  # those of threads
        self.on_fork: List[Callable[[], None]] = []
        self.on_close: List[Callable[[], None]] = []  # from any thread
        _hubs.add(self)

    @property
    def handle(self) -> _core.Hub:
        handle = self._opened.get()
        return self._open() if handle is None or self.closed else handle

    @property
    def label(self) -> str:
        """What it is, for a repr."""
        return without_secrets(self.url) + (", closed" if self.closed else "")

    @property
    def is_open(self) -> bool:
        return self._opened.get() is not None

    def _open(self) -> _core.Hub:
        handle: Optional[_core.Hub] = None
        if not self.closed:
            handle = _core.sse_hub_new(self.options)
            if self.has_store:
                self._set_store(handle)
            handle = self._opened.keep(handle)
        if self.closed:  # meanwhile
            self._opened.clear()
        if handle is None or self.closed:
            raise HubClosed("the hub has been closed")
        return handle

    def _set_store(self, handle: _core.Hub) -> None:
        try:
            _core.sse_hub_set_store(handle, self.url, self._store_options)
        except (InvalidArgument, StoreUnavailable) as error:
            why = _core.sse_hub_store_error(handle)
            raise type(error)(why or str(error)) from None

    def close(self) -> None:
        """Its streams' handles would keep it alive, with its thread and leases. Who is
        interrupted closes again: the handle goes last."""
        self.closed = True
        for stream in self.streams:
            stream._core = None
        for reader in self.readers:
            reader.close()
        for callback in self.on_close:
            callback()
        handle = self._opened.get()
        if handle is None:
            return
        try:
            _core.sse_hub_flush(handle, FLUSH_MS)
        except (TimedOut, StoreUnavailable):
            log.error("a hub ends before its store has had all; it cannot be reached")
        self._opened.clear()

    def new_key(self) -> int:
        return next(self._keys)

    def forget(self) -> None:
        """In the child of a fork: what was open belongs to the parent."""
        self._opened.clear()
        self.streams = Members()
        self.readers = Members()
        for callback in self.on_fork:
            callback()


def _after_fork_in_child() -> None:
    for hub in _hubs:
        hub.forget()


@atexit.register
def _close_all() -> None:
    """Hubs that the program has left open: what they owe their store is due."""
    for hub in _hubs:
        if hub.has_store and hub.is_open:
            hub.close()


os.register_at_fork(after_in_child=_after_fork_in_child)
