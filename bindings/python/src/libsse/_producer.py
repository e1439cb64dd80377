"""Runs what produces a stream, as a task of its own that no reader's going away
can end. A stop cancels it; what it raises becomes the event `failed`."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import inspect
import logging
import threading
from typing import TYPE_CHECKING, Any, AsyncIterator, Callable, Iterator, Optional

from . import sync
from .errors import HubClosed, SSEError, StreamEnded, StreamNotFound

if TYPE_CHECKING:
    from ._hub import Hub, Stream

log = logging.getLogger("libsse")

# What a producer's send gets when the stream has been ended by somebody else.
GONE = (StreamEnded, StreamNotFound, HubClosed)


def wants_stream(produce: Callable[..., Any]) -> bool:
    """Whether it is to be called with the stream, or with nothing."""
    try:
        parameters = inspect.signature(produce).parameters.values()
    except (TypeError, ValueError):
        return False
    return any(
        p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
        for p in parameters
    )


class Producer:
    def __init__(self, hub: Hub, produce: Callable[..., Any]) -> None:
        if not callable(produce):
            raise TypeError(
                "a producer is a function: it is called once, and only if the "
                "stream is new"
            )
        self.task: Optional[asyncio.Task[None]] = None
        self.key: int = 0
        self._hub = hub
        self._produce = produce
        self._takes_stream = wants_stream(produce)
        self._stop_reason: Optional[str] = None
        self._started = False
        self._stopping = threading.Event()  # for a generator in its thread

    def start(self, stream: Stream) -> None:
        loop = asyncio.get_running_loop()
        self.task = loop.create_task(self._run(stream), name=f"libsse {stream.id}")
        self._hub._producers.add(self)
        if self._stop_reason is not None:
            self.stop(self._stop_reason)

    def note(self, kind: int, reason: int, data: bytes) -> None:
        """From the hub's queue, on the loop's thread."""
        if kind == sync.NOTE_STOP:
            self.stop(sync.REASONS[reason])

    def stop(self, reason: str) -> None:
        if self._stop_reason is None:
            self._stop_reason = "stop" if reason == "requested" else reason
        self._stopping.set()
        if self.task is not None and self._started:
            self.task.cancel()

    # ---- The task ----

    async def _run(self, stream: Stream) -> None:
        self._started = True
        try:
            if self._stop_reason is not None:
                raise asyncio.CancelledError
            await self._work(stream)
            with contextlib.suppress(*GONE):  # most have not ended by themselves
                await stream.complete()
        except asyncio.CancelledError:
            reason = self._stop_reason or "shutdown"
            with contextlib.suppress(SSEError):
                stream.sync.cancel({"reason": reason})
        except GONE:
            log.debug("the stream %s has ended before its producer", stream.id)
        except Exception as error:
            await self._fail(stream, error)
        finally:
            self._hub._forget(self, stream)

    async def _fail(self, stream: Stream, error: Exception) -> None:
        log.exception("the producer of the stream %s failed", stream.id)
        message = str(error) if self._hub.expose_errors else ""
        told = {
            "error": "producer_failed",
            "message": message or "The producer failed.",
        }
        with contextlib.suppress(SSEError, asyncio.CancelledError):
            await stream.fail(told)

    async def _work(self, stream: Stream) -> None:
        made = self._produce(stream) if self._takes_stream else self._produce()
        if inspect.isawaitable(made):
            made = await made
            if made is None:
                return
        if hasattr(made, "__aiter__"):
            await _pump(made, stream)
        elif hasattr(made, "__next__") or isinstance(made, (list, tuple)):
            await self._pump_in_thread(iter(made), stream)
        else:
            raise TypeError(
                "a producer gives an async generator, a generator or a coroutine, "
                f"not {type(made).__name__}"
            )

    async def _pump_in_thread(self, items: Iterator[Any], stream: Stream) -> None:
        """A generator may wait as it likes: it has a thread. A stop reaches it
        between two items, as GeneratorExit."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()
        context = contextvars.copy_context()

        def settle(error: Optional[BaseException]) -> None:
            if done.done():
                return
            if error is None:
                done.set_result(None)
            else:
                done.set_exception(error)

        def work() -> None:
            error: Optional[BaseException] = None
            try:
                context.run(self._send_all, items, stream.sync)
            except StopIteration as stray:
                error = RuntimeError(f"the generator raised {stray!r}")
            except BaseException as raised:
                error = raised
            with contextlib.suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(settle, error)

        threading.Thread(target=work, name=f"libsse {stream.id}", daemon=True).start()
        try:
            await done
        except asyncio.CancelledError:
            self._stopping.set()
            raise

    def _send_all(self, items: Iterator[Any], stream: sync.Stream) -> None:
        try:
            for item in items:
                if self._stopping.is_set():
                    return
                stream.send(item)
        finally:
            close = getattr(items, "close", None)
            if close is not None:
                close()


async def _pump(items: AsyncIterator[Any], stream: Stream) -> None:
    try:
        async for item in items:
            try:
                await stream.send(item)
            except asyncio.CancelledError as stop:
                await _throw(items, stop)
                raise
    finally:
        close = getattr(items, "aclose", None)
        if close is not None:
            await close()


async def _throw(items: Any, stop: asyncio.CancelledError) -> None:
    """A stop that hits the sending is raised where the generator stands too."""
    throw = getattr(items, "athrow", None)
    if throw is not None:
        with contextlib.suppress(asyncio.CancelledError, StopAsyncIteration):
            await throw(stop)
