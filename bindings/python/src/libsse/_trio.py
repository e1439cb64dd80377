"""Trio's event loop. Imported where Trio runs, and nowhere else."""

from __future__ import annotations

import contextlib
import contextvars
import functools
import logging
from types import CoroutineType
from typing import Any, Callable, Generator, Generic, Iterable, List, Optional, TypeVar

import trio

from ._loop import THREADS, Loop, Task, Work

R = TypeVar("R")

log = logging.getLogger("libsse")


class Waiter:
    """What one task awaits until somebody wakes it."""

    def __init__(self) -> None:
        self.event: trio.Event = trio.Event()

    def __await__(self) -> Generator[Any, Any, None]:
        return self.event.wait().__await__()


class TrioTask(Task[R], Generic[R]):
    """A system task: those outlive whoever starts them, but must not raise."""

    def __init__(self, work: Work[R], name: str) -> None:
        self._work = work
        self._scope = trio.CancelScope()
        self._ended = trio.Event()
        self._given: List[R] = []
        self._error: Optional[Exception] = None
        context = contextvars.copy_context()
        trio.lowlevel.spawn_system_task(self._run, name=name, context=context)

    async def _run(self) -> None:
        try:
            with self._scope:
                self._given.append(await self._work())
        except Exception as error:
            self._error = error
        finally:
            self._ended.set()

    @property
    def is_done(self) -> bool:
        return self._ended.is_set()

    def cancel(self) -> None:
        self._scope.cancel()

    async def wait(self) -> R:
        await self._ended.wait()
        if self._error is not None:
            raise self._error
        if not self._given:
            raise RuntimeError("what this waits for was cancelled")
        return self._given[0]

    async def settled(self) -> None:
        await self._ended.wait()


class TrioLoop(Loop):
    def __init__(self, token: trio.lowlevel.TrioToken) -> None:
        self._token = token
        self._threads = trio.CapacityLimiter(THREADS)
        self._closed = False
        trio.lowlevel.spawn_system_task(self._live, name="libsse")

    async def _live(self) -> None:
        try:
            await trio.sleep_forever()
        finally:
            self._closed = True

    @property
    def is_closed(self) -> bool:
        return self._closed

    def watch(self, fd: int, readable: Callable[[], None]) -> Callable[[], None]:
        scope = trio.CancelScope()

        async def watching() -> None:
            with scope:
                while True:
                    await trio.lowlevel.wait_readable(fd)
                    try:
                        readable()
                    except Exception:
                        log.exception("a callback failed")

        def stop() -> None:
            scope.cancel()
            if not self._closed:
                trio.lowlevel.notify_closing(fd)

        trio.lowlevel.spawn_system_task(watching, name="libsse door")
        return stop

    async def readable(self, fd: int) -> None:
        await trio.lowlevel.wait_readable(fd)

    def new_waiter(self) -> Waiter:
        return Waiter()

    def wake(self, waiter: Waiter) -> None:
        waiter.event.set()

    def start(self, work: Work[R], name: str) -> Task[R]:
        return TrioTask(work, name)

    def call_threadsafe(self, call: Callable[[], None]) -> None:
        with contextlib.suppress(trio.RunFinishedError):
            self._token.run_sync_soon(call)

    async def sleep(self, seconds: float) -> None:
        await trio.sleep(seconds)

    async def in_thread(self, call: Callable[..., R], *args: Any, **named: Any) -> R:
        whole = functools.partial(call, *args, **named)
        return await trio.to_thread.run_sync(whole, limiter=self._threads)

    async def within(self, seconds: float, work: Work[R]) -> R:
        with trio.move_on_after(seconds):
            return await work()
        raise TimeoutError

    async def attended(self, work: Work[None], watch: Work[None]) -> None:
        raised: List[Exception] = []  # a nursery would put it into a group

        async def do() -> None:
            try:
                await work()
            except Exception as error:
                raised.append(error)
            nursery.cancel_scope.cancel()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(do)
            nursery.start_soon(watch)
        for error in raised:
            raise error

    def is_cancel(self, error: BaseException) -> bool:
        """Nurseries put it into groups."""
        inner = getattr(error, "exceptions", None)
        if inner is not None:
            return all(map(self.is_cancel, inner))
        return isinstance(error, trio.Cancelled)

    def is_cancelled(self) -> bool:
        return True  # nothing else raises it

    def coroutines(self) -> Iterable[CoroutineType[Any, Any, Any]]:
        root = trio.lowlevel.current_root_task()
        tasks = [root] if root is not None else []
        while tasks:
            task = tasks.pop()
            for nursery in task.child_nurseries:
                tasks.extend(nursery.child_tasks)
            if isinstance(task.coro, CoroutineType):
                yield task.coro
