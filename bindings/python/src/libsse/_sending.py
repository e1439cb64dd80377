"""One EventSourceResponse while it is sent: its tasks, and how they end. On anyio,
which is wherever Starlette is, so under asyncio and Trio alike."""

from __future__ import annotations

import contextlib
import contextvars
import inspect
import logging
import threading
import types
from typing import (
    TYPE_CHECKING,
    Any,
    AsyncIterator,
    Awaitable,
    Callable,
    Generator,
    Iterator,
    List,
    Optional,
)

import anyio

from ._asgi_base import Receive, Send, until_gone
from ._loop import here
from ._producer import close_items
from ._server_end import when_server_ends

if TYPE_CHECKING:
    from ._event_source import EventSourceResponse

log = logging.getLogger("libsse")

LAST_SEND_S = 5.0  # for who takes nothing while the server waits to end
DISCONNECT = {"type": "http.disconnect"}


class _Gone(Exception):
    """The reader, as a send has found."""


class Sending:
    """`run` returns when all is sent or the reader is gone, with no task left."""

    def __init__(
        self, response: EventSourceResponse, receive: Receive, send: Send
    ) -> None:
        self._response = response
        self._receive = receive
        self._send = send
        self._turn = anyio.Lock()  # one message at a time
        self._sent_at = anyio.current_time()
        self._raised: List[Exception] = []
        self._gone = False  # nobody reads what is sent
        self._until_end = anyio.CancelScope()  # around the items and their sending
        self._until_gone = anyio.CancelScope()  # around all
        self._ending = anyio.Event()

    async def run(self) -> None:
        response = self._response
        forget = when_server_ends(self._ending.set)
        try:
            with self._until_gone:
                async with anyio.create_task_group() as group:
                    self._group = group
                    group.start_soon(self._task, self._send_all)
                    group.start_soon(self._task, self._watch_reader)
                    group.start_soon(self._task, self._watch_server)
                    if response.ping_interval > 0:
                        group.start_soon(self._task, self._ping)
                    if response.data_sender_callable is not None:
                        group.start_soon(self._task, response.data_sender_callable)
        finally:
            forget()
        if self._raised:
            raise self._raised[0]

    async def _task(self, work: Callable[[], Awaitable[Any]]) -> None:
        """What one raises ends all."""
        try:
            await work()
        except _Gone:
            await self._reader_gone(DISCONNECT)
        except Exception as error:
            self._raised.append(error)
            self._until_gone.cancel()

    # ---- The tasks ----

    async def _send_all(self) -> None:
        """The items, and the end of the response; also when the server ends."""
        with self._until_end:
            await self._send_items()
        if not self._gone:
            await self._send_last()
        self._until_gone.cancel()

    async def _watch_reader(self) -> None:
        await until_gone(self._receive)
        await self._reader_gone(DISCONNECT)

    async def _watch_server(self) -> None:
        await self._ending.wait()
        if self._response.shutdown_event is not None:
            self._response.shutdown_event.set()
        await anyio.sleep(self._response.shutdown_grace_period)
        self._until_end.cancel()

    async def _ping(self) -> None:
        every = self._response.ping_interval
        while True:
            rest = self._sent_at + every - anyio.current_time()
            if rest > 0:
                await anyio.sleep(rest)
            else:
                await self._put(self._response.ping())

    async def _reader_gone(self, message: Any) -> None:
        if self._gone:
            return
        self._gone = True
        handler = self._response.client_close_handler_callable
        if handler is not None:
            word = handler(message)
            if inspect.isawaitable(word):
                await word
        self._until_gone.cancel()

    # ---- Items ----

    async def _send_items(self) -> None:
        """That the reader is gone or the server ends reaches the iterable once, as a
        cancellation. From then on it is let alone, so that its `finally` may wait,
        for as long as `cleanup_timeout` says."""
        items = _iterator(self._response.body_iterator)
        alone = anyio.CancelScope()
        cancelled = anyio.get_cancelled_exc_class()

        def note(error: Any) -> None:
            """It may also be the iterable's own, of a time limit that it has."""
            if isinstance(error, cancelled) and self._ends() and not alone.shield:
                alone.shield = True
                alone.deadline = self._cleanup_deadline()

        try:
            with alone:
                while not alone.shield:
                    try:
                        item = await _noting(items.__anext__(), note)
                    except StopAsyncIteration:
                        return
                    if not alone.shield:
                        await self._put(self._response.item(item))
        finally:
            if alone.cancel_called:
                self._warn_of_cleanup()
            await self._close(items)

    def _ends(self) -> bool:
        scopes = (self._until_end, self._until_gone, self._group.cancel_scope)
        return any(scope.cancel_called for scope in scopes)

    async def _close(self, items: Any) -> None:
        with anyio.CancelScope(shield=True) as scope:
            scope.deadline = self._cleanup_deadline()
            try:
                await close_items(items)
            except Exception:
                log.exception("the content of an EventSourceResponse cannot be closed")
        if scope.cancelled_caught:
            self._warn_of_cleanup()

    def _cleanup_deadline(self) -> float:
        seconds = self._response.cleanup_timeout
        return float("inf") if seconds is None else anyio.current_time() + seconds

    def _warn_of_cleanup(self) -> None:
        log.warning(
            "the content of an EventSourceResponse was closed for more than %s s",
            self._response.cleanup_timeout,
        )

    # ---- Sending ----

    async def _put(self, data: bytes) -> None:
        message = {"type": "http.response.body", "body": data, "more_body": True}
        async with self._turn:
            with anyio.move_on_after(self._response.send_timeout) as limit:
                await self._pass_on(message)
            self._sent_at = anyio.current_time()
        if limit.cancelled_caught:
            from ._event_source import SendTimeoutError

            told = f"the reader took nothing for {self._response.send_timeout} s"
            raise SendTimeoutError(told)

    async def _send_last(self) -> None:
        seconds = self._response.send_timeout
        if seconds is None and self._ending.is_set():
            seconds = LAST_SEND_S
        with anyio.move_on_after(seconds):
            async with self._turn:
                await self._pass_on({"type": "http.response.body", "body": b""})

    async def _pass_on(self, message: Any) -> None:
        """OSError is what servers raise when the reader is gone; from the iterable,
        it would be an error of its own."""
        try:
            await self._send(message)
        except OSError as error:
            raise _Gone from error


@types.coroutine
def _noting(
    step: Awaitable[Any], note: Callable[[Any], None]
) -> Generator[Any, Any, Any]:
    """Awaits a step. What it is woken with is noted first, where it is an error:
    asyncio throws that, Trio sends it."""
    waits = step.__await__()
    try:
        wanted = waits.send(None)
        while True:
            try:
                given = yield wanted
            except BaseException as error:
                note(error)
                wanted = waits.throw(error)
            else:
                note(getattr(given, "error", None))
                wanted = waits.send(given)
    except StopIteration as end:
        return end.value


def _iterator(content: Any) -> AsyncIterator[Any]:
    if hasattr(content, "__aiter__"):
        iterator: AsyncIterator[Any] = content.__aiter__()
        return iterator
    return _InThread(iter(content))


class _InThread:
    """An iterator that may wait as it likes: it has a thread, one that does not keep
    the process alive. A reader's going away reaches it between two items."""

    def __init__(self, items: Iterator[Any]) -> None:
        self._items = items
        self._wanted = threading.Semaphore(0)
        self._closed = False
        self._steps = False  # within the iterator
        self._thread: Optional[threading.Thread] = None
        self._over = anyio.Event()

    def __aiter__(self) -> _InThread:
        return self

    async def __anext__(self) -> Any:
        if self._thread is None:
            self._start()
        given: List[Any] = []
        self._given = given
        self._came = anyio.Event()
        self._steps = True
        self._wanted.release()
        await self._came.wait()
        ((item, error),) = given
        if error is not None:
            raise error
        return item

    def _start(self) -> None:
        run = contextvars.copy_context().run
        call = here().call_threadsafe
        self._thread = threading.Thread(
            target=run, args=(self._run, call), name="libsse content", daemon=True
        )
        self._thread.start()

    def _run(self, call: Callable[[Callable[[], None]], None]) -> None:
        try:
            while True:
                self._wanted.acquire()
                if self._closed:
                    return
                answer = self._step()
                self._steps = False
                self._given.append(answer)
                call(self._came.set)
                if answer[1] is not None:
                    return
        finally:
            close = getattr(self._items, "close", None)
            if close is not None:
                with _logging():
                    close()
            call(self._over.set)

    def _step(self) -> Any:
        try:
            return next(self._items), None
        except StopIteration:
            return None, StopAsyncIteration()
        except BaseException as error:
            return None, error

    async def aclose(self) -> None:
        """Returns when it is closed; at once, when it stands within a step: then it
        is closed behind that."""
        self._closed = True
        self._wanted.release()
        if self._thread is not None and not self._steps:
            await self._over.wait()


@contextlib.contextmanager
def _logging() -> Iterator[None]:
    try:
        yield
    except Exception:
        log.exception("the content of an EventSourceResponse cannot be closed")
