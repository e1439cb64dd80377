"""Notices that the server wants to end. Most servers wait for open responses before
they tell the application, which for streams is never: so it must look itself."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
from typing import TYPE_CHECKING, Any, AsyncGenerator, Callable, Dict, Mapping, Optional

if TYPE_CHECKING:
    from ._hub import Hub

LOOK_S = 0.1


@contextlib.asynccontextmanager
async def watching(hub: Hub) -> AsyncGenerator[None, None]:
    loop = asyncio.get_running_loop()
    is_ending = find_server()
    task: Optional[asyncio.Task[None]] = None
    restore: Optional[Callable[[], None]] = None
    if is_ending is not None:
        task = loop.create_task(_watch(is_ending, hub))
    elif threading.current_thread() is threading.main_thread():
        restore = _wrap_signals(loop, hub)
    try:
        yield
    finally:
        if restore is not None:
            restore()
        if task is not None:
            task.cancel()


async def _watch(is_ending: Callable[[], bool], hub: Hub) -> None:
    while not is_ending():
        await asyncio.sleep(LOOK_S)
    hub.begin_shutdown()


def find_server() -> Optional[Callable[[], bool]]:
    """What tells whether the server that runs in this loop wants to end. However it
    was started, its own coroutine waits in one of the loop's tasks."""
    for task in asyncio.all_tasks():
        waits: Any = task.get_coro()
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


def _wrap_signals(loop: asyncio.AbstractEventLoop, hub: Hub) -> Callable[[], None]:
    """Other servers: on their way to their handler, signals tell the hub."""
    before: Dict[int, Any] = {}

    def handler(number: int, frame: Any) -> None:
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(hub.begin_shutdown)
        known = before.get(number)
        if callable(known):
            known(number, frame)
        elif known == signal.SIG_DFL:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        known = signal.getsignal(number)
        if known is not None and known not in (signal.SIG_DFL, signal.SIG_IGN):
            before[number] = known
            signal.signal(number, handler)

    def restore() -> None:
        for number, known in before.items():
            if signal.getsignal(number) is handler:
                signal.signal(number, known)

    return restore
