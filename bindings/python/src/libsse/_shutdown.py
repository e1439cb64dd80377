"""Notices that the server wants to end. Most servers wait for open responses before
they tell the application, which for streams is never: so it must look itself."""

from __future__ import annotations

import os
import signal
import threading
from typing import Any, Callable, Dict, Mapping, Optional, Tuple

from ._loop import Loop

LOOK_S = 0.1


def watch(loop: Loop, begin: Callable[[], None]) -> Callable[[], None]:
    """Calls `begin` on the loop's thread, once, when the server that runs in the
    loop wants to end. Gives what ends the looking."""
    is_ending = find_server(loop)
    if is_ending is None:
        if threading.current_thread() is threading.main_thread():
            return _wrap_signals(loop, begin)
        return lambda: None

    async def look() -> None:
        while not is_ending():
            await loop.sleep(LOOK_S)
        begin()

    return loop.start(look, "libsse looks whether the server ends").cancel


def find_server(loop: Loop) -> Optional[Callable[[], bool]]:
    """What tells whether the server that runs in this loop wants to end. However it
    was started, its own coroutine waits in one of the loop's tasks."""
    for coroutine in loop.coroutines():
        waits: Any = coroutine
        while waits is not None:
            frame = getattr(waits, "cr_frame", None)
            found = _tells_end(frame.f_locals) if frame is not None else None
            if found is not None:
                return found
            waits = getattr(waits, "cr_await", None)
    return None


def _tells_end(names: Mapping[str, Any]) -> Optional[Callable[[], bool]]:
    """Uvicorn's Server has should_exit. Hypercorn's worker is told by an event, of
    its own process or of the one that started it."""
    owner: Any = names.get("self")
    if hasattr(owner, "should_exit") and hasattr(owner, "lifespan"):
        return lambda: bool(owner.should_exit)
    if "lifespan" in names and "shutdown_trigger" in names:
        waits = names["shutdown_trigger"]
        for holder in (waits, *getattr(waits, "args", ())):
            event = getattr(holder, "__self__", holder)
            if hasattr(event, "is_set"):
                return lambda: bool(event.is_set())
    return None


_watching: Dict[object, Tuple[Loop, Callable[[], None]]] = {}
os.register_at_fork(after_in_child=_watching.clear)
# By the signal: our handler, for all that watch, and the one that stood there before.
_wrapped: Dict[int, Tuple[Any, Any]] = {}


def _wrap_signals(loop: Loop, begin: Callable[[], None]) -> Callable[[], None]:
    """Other servers: on their way to their handler, signals tell the hub. What was
    left open in a loop that is closed does not stay for that."""
    for other, (gone, _) in list(_watching.items()):
        if gone.is_closed:
            _watching.pop(other, None)
    key = object()
    _watching[key] = (loop, begin)
    for number in (signal.SIGINT, signal.SIGTERM):
        known = signal.getsignal(number)
        ours, _ = _wrapped.get(number, (None, None))
        if callable(known) and known is not ours:
            ours = _telling(known)
            _wrapped[number] = (ours, known)
            signal.signal(number, ours)

    def forget() -> None:
        _watching.pop(key, None)
        if not _watching and threading.current_thread() is threading.main_thread():
            _unwrap_signals()

    return forget


def _telling(before: Callable[[int, Any], Any]) -> Callable[[int, Any], None]:
    """Whoever has wrapped ours, and been wrapped by it again, still gets to what is
    below both."""

    def handler(number: int, frame: Any) -> None:
        for loop, begin in list(_watching.values()):
            loop.call_threadsafe(begin)
        before(number, frame)

    return handler


def _unwrap_signals() -> None:
    for number, (ours, before) in list(_wrapped.items()):
        if signal.getsignal(number) is ours:
            signal.signal(number, before)
            del _wrapped[number]
