"""Runs what produces a stream, as a task of its own that no reader's going away
can end. A stop cancels it; what it raises becomes the event `failed`."""

from __future__ import annotations

import contextlib
import contextvars
import functools
import inspect
import logging
import threading
from typing import (
    TYPE_CHECKING,
    Any,
    AsyncIterator,
    Callable,
    Dict,
    Iterator,
    List,
    Optional,
)

from . import sync
from ._door import SENDS, Door
from ._loop import Loop, Task
from .errors import HubClosed, NotUTF8, SSEError, StreamEnded, StreamNotFound, TooLarge

if TYPE_CHECKING:
    from ._hub import Hub, Stream

log = logging.getLogger("libsse")

# What a producer's send gets when the stream has been ended by somebody else.
GONE = (StreamEnded, StreamNotFound, HubClosed)

# What ends more than the producer: its program, or, unfinished, its event loop.
ENDS = (KeyboardInterrupt, SystemExit, GeneratorExit)


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


def failures(error: BaseException, is_told: bool) -> Iterator[Optional[Dict[str, str]]]:
    """What readers are told of it: the first that can be sent."""
    message = ""
    if is_told:
        with contextlib.suppress(Exception):  # of a __str__ of its own
            message = str(error)
    for text in (message, ""):
        yield {
            "error": "producer_failed",
            "message": text or "The producer failed.",
        }
    yield None


def check_producer(produce: object) -> None:
    if not callable(produce):
        raise TypeError(
            "a producer is a function: it is called once, and only if the stream is new"
        )


async def close_items(items: Any) -> None:
    """Of what a client of a language model gives, `close` ends the answer; without,
    the model goes on until somebody collects the garbage."""
    close = getattr(items, "aclose", None) or getattr(items, "close", None)
    if close is not None:
        closed = close()
        if inspect.isawaitable(closed):
            await closed


class Producer:
    def __init__(self, hub: Hub, door: Door, produce: Callable[..., Any]) -> None:
        check_producer(produce)
        self.task: Optional[Task[None]] = None
        self.key: int = hub._core.new_key()
        self._hub = hub
        self._door = door
        self.loop: Loop = door.loop
        self._produce = produce
        self._takes_stream = wants_stream(produce)
        self._stop_reason: Optional[str] = None
        self._started = False
        self._stopping = threading.Event()  # for a generator in its thread
        # A stop, or the hub's end, may come before it has begun.
        door.handlers[self.key] = self.note
        hub._producers.add(self)

    def start(self, stream: Stream) -> None:
        work = functools.partial(self._run, stream)
        self.task = self.loop.start(work, f"libsse {stream.id}")
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

    def drop(self) -> None:
        """It has ended, or will not begin."""
        self._hub._producers.discard(self)
        self._door.handlers.pop(self.key, None)

    # ---- The task ----

    async def _run(self, stream: Stream) -> None:
        self._started = True
        try:
            if self._stop_reason is None:
                await self._work(stream)
            with contextlib.suppress(*GONE):  # most have not ended by themselves
                if self._stop_reason is None:
                    await stream.complete()
                else:  # also where it has caught the stop and said no more
                    self._cancelled(stream)
        except GONE:
            log.debug("the stream %s has ended before its producer", stream.id)
        except BaseException as error:
            if self.loop.is_cancel(error) and self._is_cancelled():
                self._cancelled(stream)
            elif isinstance(error, ENDS):
                raise
            else:  # such as the panic of an extension, which is no Exception
                await self._fail(stream, error)
        finally:
            self.drop()

    def _is_cancelled(self) -> bool:
        """Or something within it was, and it has let that through: a failure."""
        return self._stop_reason is not None or self.loop.is_cancelled()

    def _cancelled(self, stream: Stream) -> None:
        with contextlib.suppress(SSEError):
            stream.sync.cancel({"reason": self._stop_reason or "shutdown"})

    async def _fail(self, stream: Stream, error: BaseException) -> None:
        log.error("the producer of the stream %s failed", stream.id, exc_info=error)
        with contextlib.suppress(SSEError):
            for told in failures(error, self._hub.expose_errors):
                with contextlib.suppress(NotUTF8, TooLarge):
                    await stream.fail(told)
                    return

    async def _work(self, stream: Stream) -> None:
        made = self._produce(stream) if self._takes_stream else self._produce()
        if inspect.isawaitable(made):
            made = await made
            if made is None:
                return
        if hasattr(made, "__aiter__"):
            await self._pump(made, stream)
        elif hasattr(made, "__next__") or isinstance(made, (list, tuple)):
            await self._pump_in_thread(iter(made), stream)
        else:
            raise TypeError(
                "a producer gives an async generator, a generator, a list or a "
                f"coroutine, not {type(made).__name__}"
            )

    async def _pump_in_thread(self, items: Iterator[Any], stream: Stream) -> None:
        """A generator may wait as it likes: it has a thread. A stop reaches it
        between two items, as GeneratorExit."""
        loop = self.loop
        done: Any = loop.new_waiter()
        failed: List[Exception] = []
        context = contextvars.copy_context()

        def work() -> None:
            try:
                context.run(self._send_all, items, stream.sync)
            except Exception as error:
                failed.append(error)
            except BaseException as error:  # a SystemExit would end the loop
                failed.append(RuntimeError(f"the producer raised {error!r}"))
                failed[0].__cause__ = error
            loop.call_threadsafe(functools.partial(loop.wake, done))

        threading.Thread(target=work, name=f"libsse {stream.id}", daemon=True).start()
        try:
            await done
        finally:
            self._stopping.set()
        for error in failed:
            raise error

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

    async def _pump(self, items: AsyncIterator[Any], stream: Stream) -> None:
        waits = self._hub._core.waits
        try:
            async for item in items:
                try:
                    if waits:
                        await stream.send(item)
                    elif stream._send_here(item) and stream._sent % SENDS == 0:
                        await self.loop.sleep(0)
                except BaseException as error:
                    if self.loop.is_cancel(error):
                        await self._throw(items, error)
                    raise
        finally:
            await close_items(items)

    async def _throw(self, items: Any, stop: BaseException) -> None:
        """A stop that hits the sending is raised where the generator stands too."""
        throw = getattr(items, "athrow", None)
        if throw is None:
            return
        try:
            await throw(stop)
        except StopAsyncIteration:
            pass
        except BaseException as error:
            if not self.loop.is_cancel(error):
                raise
