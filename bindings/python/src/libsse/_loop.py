"""The event loop that runs here, asyncio's or Trio's, as far as libsse needs one."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import sys
import weakref
from abc import ABC, abstractmethod
from concurrent.futures import ThreadPoolExecutor
from types import CoroutineType
from typing import (
    Any,
    Awaitable,
    Callable,
    Collection,
    Coroutine,
    Dict,
    Generic,
    Iterable,
    Optional,
    Tuple,
    TypeVar,
)

R = TypeVar("R")

Work = Callable[[], Coroutine[Any, Any, R]]

THREADS = 32  # that wait for a store, for each loop


class Task(ABC, Generic[R]):
    """Work that nobody's going away ends."""

    @property
    @abstractmethod
    def is_done(self) -> bool:
        """From any thread."""

    @abstractmethod
    def cancel(self) -> None: ...

    @abstractmethod
    async def wait(self) -> R:
        """What it gives, or raises. Who waits may be cancelled: it goes on."""

    @abstractmethod
    async def settled(self) -> None:
        """Returns when it has ended, however."""


class Loop(ABC):
    """All of it, but call_threadsafe, is for the loop's own thread."""

    # Calls back in the loop's next turn; None where that is no cheaper than a
    # descriptor which becomes readable.
    call_soon: Optional[Callable[[Callable[[], None]], Any]] = None

    @property
    @abstractmethod
    def is_closed(self) -> bool: ...

    @abstractmethod
    def watch(self, fd: int, readable: Callable[[], None]) -> Callable[[], None]:
        """Calls back whenever the descriptor is readable. Gives what ends that,
        which is to be called before the descriptor is closed."""

    @abstractmethod
    async def readable(self, fd: int) -> None: ...

    @abstractmethod
    def new_waiter(self) -> Awaitable[None]:
        """What one task awaits until somebody wakes it."""

    @abstractmethod
    def wake(self, waiter: Any) -> None: ...

    @abstractmethod
    def start(self, work: Work[R], name: str) -> Task[R]: ...

    @abstractmethod
    def call_threadsafe(self, call: Callable[[], None]) -> None:
        """From any thread, soon; never, when the loop is no more."""

    @abstractmethod
    async def sleep(self, seconds: float) -> None: ...

    @abstractmethod
    async def in_thread(self, call: Callable[..., R], *args: Any, **named: Any) -> R:
        """A call that may wait for a store."""

    @abstractmethod
    async def within(self, seconds: float, work: Work[R]) -> R:
        """What it gives; TimeoutError, and it is cancelled, if that takes longer."""

    @abstractmethod
    async def attended(self, work: Work[None], watch: Work[None]) -> None:
        """Does some work while another task watches, up to the work's end. What the
        work raises is raised here. It has a task of its own: to wake that is cheap,
        whatever frameworks have wrapped around the one that waits here."""

    @abstractmethod
    def is_cancel(self, error: BaseException) -> bool:
        """Whether that was raised because a task was cancelled."""

    @abstractmethod
    def is_cancelled(self) -> bool:
        """Whether it was this task, as far as is known."""

    @abstractmethod
    def coroutines(self) -> Iterable[CoroutineType[Any, Any, Any]]:
        """Of all the tasks that there are."""

    async def settle_all(self, tasks: Collection[Task[Any]], seconds: float) -> None:
        """Returns when they have all ended, or the time is over."""

        async def settle() -> None:
            for task in tasks:
                await task.settled()

        if tasks and seconds > 0:
            with contextlib.suppress(TimeoutError):
                await self.within(seconds, settle)


class AsyncioTask(Task[R]):
    def __init__(self, task: asyncio.Task[R]) -> None:
        self._task = task

    @property
    def is_done(self) -> bool:
        return self._task.done()

    def cancel(self) -> None:
        self._task.cancel()

    async def wait(self) -> R:
        self._task.add_done_callback(_note_error)
        return await asyncio.shield(self._task)

    async def settled(self) -> None:
        await asyncio.wait([self._task])


def _note_error(task: asyncio.Task[Any]) -> None:
    """Who waited for it may be gone: asyncio need not say that nobody has seen it."""
    if not task.cancelled():
        task.exception()


class AsyncioLoop(Loop):
    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._threads: Optional[ThreadPoolExecutor] = None
        self.call_soon = loop.call_soon

    @property
    def is_closed(self) -> bool:
        return self._loop.is_closed()

    def watch(self, fd: int, readable: Callable[[], None]) -> Callable[[], None]:
        self._loop.add_reader(fd, readable)
        return functools.partial(self._unwatch, fd)

    def _unwatch(self, fd: int) -> None:
        if not self._loop.is_closed():
            self._loop.remove_reader(fd)

    async def readable(self, fd: int) -> None:
        waiter = self._loop.create_future()
        self._loop.add_reader(fd, self.wake, waiter)
        try:
            await waiter
        finally:
            self._loop.remove_reader(fd)

    def new_waiter(self) -> asyncio.Future[None]:
        return self._loop.create_future()

    def wake(self, waiter: asyncio.Future[None]) -> None:
        if not waiter.done():
            waiter.set_result(None)

    def start(self, work: Work[R], name: str) -> Task[R]:
        return AsyncioTask(self._loop.create_task(work(), name=name))

    def call_threadsafe(self, call: Callable[[], None]) -> None:
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(call)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def in_thread(self, call: Callable[..., R], *args: Any, **named: Any) -> R:
        if self._threads is None:
            self._threads = ThreadPoolExecutor(THREADS, "libsse")
            weakref.finalize(self, self._threads.shutdown, wait=False)
        whole = functools.partial(call, *args, **named)
        return await self._loop.run_in_executor(self._threads, whole)

    async def within(self, seconds: float, work: Work[R]) -> R:
        try:
            return await asyncio.wait_for(work(), seconds)
        except asyncio.TimeoutError:  # no TimeoutError before Python 3.11
            raise TimeoutError from None

    async def attended(self, work: Work[None], watch: Work[None]) -> None:
        tasks = [self._loop.create_task(w()) for w in (work, watch)]
        try:
            await tasks[0]
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def is_cancel(self, error: BaseException) -> bool:
        return isinstance(error, asyncio.CancelledError)

    def is_cancelled(self) -> bool:
        count = getattr(asyncio.current_task(), "cancelling", None)  # Python 3.11
        return count is None or count() > 0

    def coroutines(self) -> Iterable[Any]:
        return [task.get_coro() for task in asyncio.all_tasks()]


# With the running loop, asyncio's itself or Trio's token, by its identity.
_known: Dict[int, Tuple[Any, Loop]] = {}
os.register_at_fork(after_in_child=_known.clear)


def here() -> Loop:
    """The running one."""
    trio = sys.modules.get("trio")
    if trio is not None and trio.lowlevel.in_trio_run():
        return _of(trio.lowlevel.current_trio_token(), _trio_loop)
    try:
        running = asyncio.get_running_loop()
    except RuntimeError:
        told = "this needs a running event loop; without one, use hub.sync"
        raise RuntimeError(told) from None
    return _of(running, AsyncioLoop)


def _of(running: Any, make: Callable[[Any], Loop]) -> Loop:
    known = _known.get(id(running))
    if known is not None and known[0] is running:
        return known[1]
    for key, (_, other) in list(_known.items()):
        if other.is_closed:
            _known.pop(key, None)
    loop = make(running)
    _known[id(running)] = (running, loop)
    return loop


def _trio_loop(token: Any) -> Loop:
    from ._trio import TrioLoop

    return TrioLoop(token)
