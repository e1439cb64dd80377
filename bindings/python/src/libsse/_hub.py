"""The hub for event loops."""

from __future__ import annotations

import builtins
import contextlib
import functools
import logging
from time import monotonic
from typing import (
    TYPE_CHECKING,
    Any,
    AsyncGenerator,
    Callable,
    Dict,
    Iterable,
    List,
    Optional,
    Set,
    Tuple,
    TypeVar,
    Union,
    cast,
    overload,
)

from . import _loop, sync
from ._api import Api
from ._door import SENDS, Doors
from ._events import Event, check_id, check_text
from ._guardian import Guardian
from ._handles import Handle
from ._hub_core import HubCore, Members
from ._info import Recovered, StreamInfo
from ._loop import Task
from ._options import flag_of, kind_of_stream, of_stream, seconds_of
from ._producer import Producer
from ._subscription import Subscription
from .errors import HubClosed, StoreUnavailable, StreamExists, StreamNotFound

if TYPE_CHECKING:
    from typing_extensions import Literal, Unpack

    from ._options import HubOptions, StreamOptions
    from .asgi import StreamResponse

R = TypeVar("R")
log = logging.getLogger("libsse")

LOOK_S = 1.0  # between two looks at the store
LOOK_CLOSELY_S = 0.01  # at another loop


class Stream(Handle):
    """A handle on one stream of a hub. Dropping it ends nothing."""

    __slots__ = ("_hub", "_sent", "id", "sync")

    def __init__(self, hub: Hub, stream: sync.Stream) -> None:
        self.sync: sync.Stream = stream
        self.id: str = stream.id
        self._hub = hub
        self._sent = 0

    def __repr__(self) -> str:
        return f"<Stream {self.id}>"

    async def send(self, data: Any, type: str = "") -> str:
        """Appends one event; gives its id. `data` is text, an Event, or whatever
        has JSON: a dict, a list, a number, a dataclass, a pydantic model."""
        if self.sync.waits:
            return await self._run(self.sync.send, data, type)
        id = self._send_here(data, type)
        if self._sent % SENDS == 0:
            await _loop.here().sleep(0)
        return id

    def _send_here(self, data: Any, type: str = "") -> str:
        """On a running loop's thread, of a hub whose appends wait for nothing."""
        self._sent += 1
        door = self._hub._doors.near()
        if door is None:
            return self.sync.send(data, type)
        return door.send(self.sync, data, type)

    async def send_many(self, items: Iterable[Any], type: str = "") -> str:
        """Appends events of one type in one step, all or none; gives the last
        one's id."""
        return await self._run(self.sync.send_many, items, type)

    async def complete(self, data: Any = None, type: str = "") -> str:
        """Ends the stream with an event, `completed` unless named; gives its id."""
        return await self._run(self.sync.complete, data, type)

    async def fail(self, data: Any = None, type: str = "") -> str:
        """Ends the stream with an event, `failed` unless named; gives its id."""
        return await self._run(self.sync.fail, data, type)

    async def cancel(self, data: Any = None, type: str = "") -> str:
        """Ends it as cancelled, at once: for its producer. Others `stop` it."""
        return await self._run(self.sync.cancel, data, type)

    async def info(self) -> StreamInfo:
        """The stream as it is now."""
        return self.sync.info()

    async def _run(self, call: Callable[..., R], *args: Any) -> R:
        """What may wait goes to a thread. A stream that is written here alone waits
        for no store."""
        if self.sync.waits:
            return await _loop.here().in_thread(call, *args)
        return call(*args)


class Hub(Handle):
    """Streams, their logs and their readers. One for each process, as a rule.

    `url` is "memory:", or the store that streams outlive the process in:
    "redis://...". `expose_errors`: what a producer raises is told to readers. When
    the server or the hub ends, producers may go on for `drain_s`; then they are
    cancelled, and have `shutdown_s` to end.

    Options, with their defaults, which 0 stands for too; docs/python.md explains
    them. Of readers: heartbeat_ms=15_000 and retry_ms=1_000 (None is never),
    heartbeat="comment" ("event", "line"), id_format="tagged" ("plain"),
    slow_policy="gap" ("disconnect", "block"), block_timeout_ms=5_000.
    Of producers: unread_policy="continue" ("cancel", "cancel_after"),
    unread_ms=30_000, stop_grace_ms=5_000.
    What is kept: log_events=10_000, log_bytes=4 << 20, log_age_ms=3_600_000,
    channel_events=1_000, stream_ttl_ms=3_600_000, completion_ttl_ms=300_000.
    Limits: max_event_bytes=1 << 20, max_streams=100_000,
    max_streams_per_user=1_000, max_subscribers=100_000.
    With Redis: start_ms=1_000, command_ms=5_000, linger_ms=0, lease_ms=10_000,
    sweep_ms=30_000 (None is never), idle_ms=30_000."""

    def __init__(
        self,
        url: str = "memory:",
        *,
        expose_errors: bool = False,
        drain_s: float = 0.0,
        shutdown_s: float = 5.0,
        **options: Unpack[HubOptions],
    ) -> None:
        self._core = HubCore(url, cast(Dict[str, Any], options))
        self.sync: sync.Hub = sync.Hub._of(self._core)
        self.expose_errors: bool = flag_of("expose_errors", expose_errors)
        self._core.expose_errors = expose_errors
        self.drain_s: float = seconds_of("drain_s", drain_s)
        self.shutdown_s: float = seconds_of("shutdown_s", shutdown_s)
        self.closing: bool = False
        self._doors = Doors(self._core)
        self._producers: Set[Producer] = set()
        self._readers = Members()
        self._starting: Dict[Tuple[int, str], Task[Stream]] = {}
        self._shutting: Optional[Task[None]] = None
        self._shutting_in: Optional[_loop.Loop] = None
        self._api = Api(self.sync)
        self._core.on_fork.append(self._after_fork)
        self._core.on_close.append(self._end_all)

    def __repr__(self) -> str:
        return f"<Hub {self._core.label}>"

    def _after_fork(self) -> None:
        self._producers = set()
        self._starting = {}
        self._readers = Members()
        self.closing = False

    async def _run(self, call: Callable[..., R], *args: Any, **named: Any) -> R:
        """A call that waits for the store goes to a thread."""
        if not self._core.waits:
            return call(*args, **named)
        try:
            return await _loop.here().in_thread(call, *args, **named)
        except StoreUnavailable as error:
            why = self.store_error() if self._core.is_open else ""
            if not why:
                raise
            raise StoreUnavailable(f"{error}: {why}") from None

    # ---- Streams ----

    async def create(
        self,
        id: str = "",
        *,
        producer: Optional[Callable[..., Any]] = None,
        user_id: str = "",
        stream_type: str = "",
        metadata: Any = None,
        shared: bool = False,
        channel: bool = False,
        **options: Unpack[StreamOptions],
    ) -> Stream:
        """A new stream. Without an id, the hub makes one up that nobody guesses.
        `producer` is run at once, as a task of its own. `shared`: with a store,
        any hub may append. `channel`: many writers, no end. Options, the hub's
        unless given: log_events, log_bytes, log_age_ms, slow_policy,
        unread_policy, unread_ms."""
        numbers = of_stream(cast(Dict[str, Any], options))
        numbers["flags"] = kind_of_stream(shared, channel)
        fields = (id, user_id, stream_type, metadata)
        if producer is None:
            made = await self._run(self.sync._create, *fields, None, numbers)
            return Stream(self, made)
        make = functools.partial(self._create_producing, producer, fields, numbers)
        if not self._core.waits:
            return await make()
        # Who asks may be cancelled, but not what a thread is making meanwhile: it
        # would be a stream that nobody writes.
        return await _loop.here().start(make, f"libsse {id}").wait()

    async def _create_producing(
        self,
        producer: Callable[..., Any],
        fields: Tuple[str, str, str, Any],
        numbers: Dict[str, int],
    ) -> Stream:
        self.check_going_on()
        door = self._doors.here()
        work = Producer(self, door, producer)
        numbers["key"] = work.key
        try:
            made = await self._run(self.sync._create, *fields, door.queue, numbers)
        except BaseException:
            work.drop()
            raise
        stream = Stream(self, made)
        work.start(stream)
        return stream

    async def open(self, id: str) -> Stream:
        """A handle on a stream that there is. StreamNotFound, if there is none."""
        return Stream(self, await self._run(self.sync.open, id))

    async def create_or_open(
        self, id: str, producer: Callable[..., Any], **fields: Any
    ) -> Stream:
        """The stream with that id; a new one, with the producer running, when there
        is none. Asked twice at once, it runs once."""
        loop = _loop.here()
        key = (builtins.id(loop), check_id(id))
        task = self._starting.get(key)
        if task is None:

            async def start() -> Stream:
                try:
                    return await self._create_or_open(id, producer, fields)
                finally:
                    self._starting.pop(key, None)

            task = self._starting[key] = loop.start(start, f"libsse {id}")
        return await task.wait()  # who asked may go away meanwhile

    async def _create_or_open(
        self, id: str, producer: Callable[..., Any], fields: Dict[str, Any]
    ) -> Stream:
        try:
            return await self.open(id)
        except StreamNotFound:
            pass
        try:
            return await self.create(id, producer=producer, **fields)
        except StreamExists:
            return await self.open(id)

    async def stop(self, id: str) -> None:
        """Asks a stream's producer to stop, wherever it runs."""
        await self._run(self.sync.stop, id)

    async def remove(self, id: str) -> None:
        """Forgets a stream, and ends its subscriptions."""
        await self._run(self.sync.remove, id)

    async def streams(self, *, user_id: str = "") -> List[StreamInfo]:
        """A user's streams, or everybody's; newest first."""
        return await self._run(self.sync.streams, user_id=user_id)

    async def info(self, id: str) -> StreamInfo:
        """A stream as it is now. StreamNotFound, if there is none."""
        return await self._run(self.sync.info, id)

    async def recover(self, id: str, after: str = "") -> Recovered:
        """What is known of a stream, with the events kept behind `after`."""
        return await self._run(self.sync.recover, id, after)

    # ---- Reading ----

    @overload
    def subscribe(
        self,
        id: str,
        last_event_id: str = "",
        *,
        raw: Literal[False] = False,
        heartbeat_ms: Optional[int] = 0,
        retry_ms: Optional[int] = 0,
    ) -> Subscription[Event]: ...

    @overload
    def subscribe(
        self,
        id: str,
        last_event_id: str = "",
        *,
        raw: Literal[True],
        heartbeat_ms: Optional[int] = 0,
        retry_ms: Optional[int] = 0,
    ) -> Subscription[bytes]: ...

    def subscribe(
        self,
        id: str,
        last_event_id: str = "",
        *,
        raw: bool = False,
        heartbeat_ms: Optional[int] = 0,
        retry_ms: Optional[int] = 0,
    ) -> Union[Subscription[Event], Subscription[bytes]]:
        """Reads a stream from behind an event: "" or "0" from its start, "$" only
        what is new. `raw`: the bytes for the body of a response. Times of 0 are
        the hub's, None is never."""
        check_id(id)
        check_text("last_event_id", last_event_id)
        options = sync.reader_options(heartbeat_ms, retry_ms)
        if flag_of("raw", raw):
            return Subscription[bytes](self, id, last_event_id, True, options)
        return Subscription[Event](self, id, last_event_id, False, options)

    def respond(
        self,
        request: Any,
        stream_id: str,
        producer: Optional[Callable[..., Any]] = None,
        *,
        user_id: str = "",
        stream_type: str = "",
        metadata: Any = None,
        headers: Optional[Dict[str, str]] = None,
        **options: Unpack[StreamOptions],
    ) -> StreamResponse:
        """The response that an ASGI application gives for a stream: from the cursor
        that the request carries, with 204, 404 and 400 where docs/http.md has
        them. With a producer, the stream is created if there is none, with the
        options that `create` takes. A stream with another owner than `user_id` is
        not found."""
        from .asgi import StreamResponse

        fields = dict(stream_type=stream_type, metadata=metadata, **options)
        return StreamResponse(
            self, request, stream_id, producer, user_id, fields, headers or {}
        )

    # ---- The hub ----

    @contextlib.asynccontextmanager
    async def guardian(
        self, on_orphan: Callable[[StreamInfo], Any]
    ) -> AsyncGenerator[None, None]:
        """With a store: while it is open, streams whose producer went silent are
        told to `on_orphan(info)`, async or not. It answers "completed", "failed" or
        "cancelled", with data as a second value if it likes, and the stream ends so;
        or "active", or None: the job still runs, and is asked about again."""
        guard = Guardian(self, on_orphan)
        try:
            yield
        finally:
            await guard.close()

    async def settle(
        self, id: str, state: str, data: Any = None, type: str = ""
    ) -> None:
        """Says what became of a stream whose producer went silent."""
        await self._run(self.sync.settle, id, state, data, type)

    def metrics(self) -> str:
        """Prometheus text."""
        return self.sync.metrics()

    def store_error(self) -> str:
        """Why the store cannot be reached now; "" when all is well."""
        return self.sync.store_error()

    # ---- Life ----

    @contextlib.asynccontextmanager
    async def lifespan(self, app: Any = None) -> AsyncGenerator[None, None]:
        """For `FastAPI(lifespan=hub.lifespan)`: the hub ends with the application,
        whose routes may let an SSEError through: it is answered with its status."""
        from .asgi import add_error_handler

        self._reopen()
        add_error_handler(app, self.error_response)
        await self._run(lambda: self._core.handle)
        self.watch_server()
        watch = _loop.here().start(self._watch_store, "libsse looks at the store")
        try:
            yield
        finally:
            watch.cancel()
            await self.aclose()

    async def error_response(self, request: Any, error: Exception) -> Any:
        """For `app.add_exception_handler(SSEError, hub.error_response)`, which
        `lifespan` does by itself."""
        from .asgi import AnswerResponse

        return AnswerResponse(self._api.refuse(error))

    async def _watch_store(self) -> None:
        """Who reads the log learns that the store is away, and that it is back."""
        was = ""
        while self._core.has_store:
            why = self.store_error()
            if why and not was:
                log.warning("the store cannot be reached: %s", why)
            elif was and not why:
                log.warning("the store is reached again")
            was = why
            await _loop.here().sleep(LOOK_S)

    def _reopen(self) -> None:
        """The lifespan may begin again, as it does for each test of a program."""
        if self._core.closed:
            self._core.closed = False
            self.closing = False
            self._shutting = None

    async def __aenter__(self) -> Hub:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def watch_server(self) -> None:
        """For responses: they end when the server that runs in this loop wants to,
        also in an application without this lifespan."""
        self._doors.here().watch_server(self.begin_shutdown)

    def check_going_on(self) -> None:
        """Nothing new begins in a server that ends."""
        if self.closing:
            raise HubClosed("the server is shutting down")

    def begin_shutdown(self) -> None:
        """On the loop's thread: what drain_s and shutdown_s are about begins, and
        when it is over, readers get a complete response."""
        if self.closing:
            return
        loop = _loop.here()
        self.closing = True
        self._shutting_in = loop
        self._shutting = loop.start(self._shut, "libsse shutdown")

    async def _shut(self) -> None:
        loop = _loop.here()
        tasks = [p.task for p in self._producers if p.task and p.loop is loop]
        await loop.settle_all(tasks, self.drain_s)
        self._stop_producers()
        await loop.settle_all(tasks, self.shutdown_s)
        with contextlib.suppress(TimeoutError):
            await loop.within(self.shutdown_s, self._doors.hand_over_all)
        self._end_readers()

    async def _shut_down(self) -> None:
        """Waits for what has been begun; when that is another loop's, which may stop
        at any time, for no longer than it has."""
        loop, elsewhere = _loop.here(), self._shutting_in
        if self._shutting is None or elsewhere is None:
            return
        if elsewhere is loop:
            await self._shutting.wait()
            return
        until = monotonic() + self.drain_s + 2 * self.shutdown_s
        while not (self._shutting.is_done or elsewhere.is_closed):
            if monotonic() >= until:
                return
            await loop.sleep(LOOK_CLOSELY_S)

    def _stop_producers(self) -> None:
        for producer in list(self._producers):
            stop = functools.partial(producer.stop, "shutdown")
            producer.loop.call_threadsafe(stop)

    def _end_readers(self) -> None:
        for reader in self._readers:
            reader._end("shutdown")

    def _end_all(self) -> None:
        """For `hub.sync.close()`, which waits for none of them."""
        self._stop_producers()
        self._end_readers()
        self._doors.close(None)

    async def aclose(self) -> None:
        """Ends it: producers are cancelled, readers end, and from then on
        everything of it raises HubClosed."""
        if self._core.closed:
            return
        self.begin_shutdown()
        await self._shut_down()
        if self._core.is_open:
            self._doors.close(_loop.here())
        await self._run(self._core.close)
