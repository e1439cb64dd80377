"""The handle of a hub: opened at first use, closed once, reopened in a child."""

from __future__ import annotations

import atexit
import itertools
import logging
import os
import threading
import weakref
from typing import Any, Callable, Dict, Iterator, List, Optional

from . import _core
from ._events import check_text, without_secrets
from ._options import BLOCK, split
from .errors import HubClosed, InvalidArgument, StoreUnavailable, TimedOut

log = logging.getLogger("libsse")

FLUSH_MS = 5000  # for what the store has not had, when a hub ends


class Members:
    """What ends with a hub, and is not kept alive by it. Any thread: a WeakSet that
    grows while another thread looks at it raises an error."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._members: weakref.WeakSet[Any] = weakref.WeakSet()

    def add(self, member: Any) -> None:
        with self._lock:
            self._members.add(member)

    def discard(self, member: Any) -> None:
        with self._lock:
            self._members.discard(member)

    def __iter__(self) -> Iterator[Any]:
        with self._lock:
            return iter(list(self._members))


_hubs: weakref.WeakSet[HubCore] = weakref.WeakSet()


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
        self._handle: Optional[_core.Hub] = None
        self._lock = threading.Lock()
        self._keys = itertools.count(1)
        self.streams: Members = Members()
        self.readers: Members = Members()  # those of threads
        self.on_fork: List[Callable[[], None]] = []
        self.on_close: List[Callable[[], None]] = []  # from any thread
        _hubs.add(self)

    @property
    def handle(self) -> _core.Hub:
        handle = self._handle
        return self._open() if handle is None or self.closed else handle

    @property
    def label(self) -> str:
        """What it is, for a repr."""
        return without_secrets(self.url) + (", closed" if self.closed else "")

    @property
    def is_open(self) -> bool:
        return self._handle is not None

    def _open(self) -> _core.Hub:
        with self._lock:
            if self.closed:
                raise HubClosed("the hub has been closed")
            if self._handle is None:
                handle = _core.sse_hub_new(self.options)
                if self.has_store:
                    self._set_store(handle)
                self._handle = handle
            return self._handle

    def _set_store(self, handle: _core.Hub) -> None:
        try:
            _core.sse_hub_set_store(handle, self.url, self._store_options)
        except (InvalidArgument, StoreUnavailable) as error:
            why = _core.sse_hub_store_error(handle)
            raise type(error)(why or str(error)) from None

    def close(self) -> None:
        """Its streams' handles would keep it alive, with its thread and leases. Who is
        interrupted closes again: the handle goes last."""
        with self._lock:  # nobody opens it meanwhile
            self.closed = True
        for stream in self.streams:
            stream._core = None
        for reader in self.readers:
            reader.close()
        for callback in self.on_close:
            callback()
        handle = self._handle
        if handle is None:
            return
        try:
            _core.sse_hub_flush(handle, FLUSH_MS)
        except (TimedOut, StoreUnavailable):
            log.error("a hub ends before its store has had all; it cannot be reached")
        self._handle = None

    def new_key(self) -> int:
        return next(self._keys)

    def forget(self) -> None:
        """In the child of a fork: what was open belongs to the parent."""
        self._lock = threading.Lock()
        self._handle = None
        self.streams = Members()
        self.readers = Members()
        for callback in self.on_fork:
            callback()


def _after_fork_in_child() -> None:
    for hub in list(_hubs):
        hub.forget()


@atexit.register
def _close_all() -> None:
    """Hubs that the program has left open: what they owe their store is due."""
    for hub in list(_hubs):
        if hub.has_store and hub.is_open:
            hub.close()


os.register_at_fork(after_in_child=_after_fork_in_child)
