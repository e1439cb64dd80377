"""libsse for threads: the same hub, with calls that wait. For WSGI, scripts, and
whatever has no event loop. `libsse.Hub.sync` is one of these too."""

from __future__ import annotations

import json
import select
from array import array
from collections import deque
from functools import partial
from itertools import repeat
from time import monotonic
from typing import (
    TYPE_CHECKING,
    Any,
    Deque,
    Dict,
    Generic,
    Iterable,
    Iterator,
    List,
    Mapping,
    Optional,
    Tuple,
    TypeVar,
    Union,
    cast,
    overload,
)

from . import _core
from ._events import Event, check_id, check_text, new_parser, text_of, utf8
from ._handles import Handle
from ._hub_core import HubCore
from ._info import Recovered, StreamInfo
from ._options import (
    BLOCK,
    NEVER,
    SHARED,
    flag_of,
    kind_of_stream,
    number_of,
    of_stream,
    seconds_of,
)
from .errors import HubClosed, InvalidArgument, StreamEnded, TooLarge

if TYPE_CHECKING:
    from typing_extensions import Literal, Unpack

    from ._options import HubOptions, StreamOptions

__all__ = ["Hub", "Stream", "Subscription"]

NOTE_BYTES, NOTE_END, NOTE_STOP, NOTE_WAKE, NOTE_ORPHAN = 1, 2, 3, 4, 5
REASONS = ("", "ended", "lagged", "removed", "requested", "unread", "shutdown")
ACTIVE, COMPLETED, FAILED, CANCELLED = 0, 1, 2, 3
HOLD = 1
METADATA_MAX, TEXT_MAX = 16384, 255
POLL_MAX_S = 86400.0  # in one call; the system takes no more than 24 days

T = TypeVar("T", Event, bytes)


def payload(data: Any, type: str) -> Tuple[Union[str, bytes], str]:
    """The text that is sent for a value, and its type."""
    if isinstance(data, Event):
        data, type = data.data, type or data.type
    return text_of(data), check_text("type", type)


class Stream(Handle):
    """A handle on one stream of a hub. Dropping it ends nothing. Any thread."""

    __slots__ = ("__weakref__", "_core", "id", "waits")

    def __init__(self, hub: HubCore, core: _core.Stream, id: str, waits: bool) -> None:
        self._core: Optional[_core.Stream] = core
        self.id: str = id
        self.waits: bool = waits  # an append may, for the store or for readers
        hub.streams.add(self)
        if hub.closed:  # meanwhile
            self._core = None

    def __repr__(self) -> str:
        return f"<Stream {self.id}>"

    def send(self, data: Any, type: str = "") -> str:
        """Appends one event; gives its id. `data` is text, an Event, or whatever
        has JSON: a dict, a list, a number, a dataclass, a pydantic model."""
        if data.__class__ is not str or type.__class__ is not str:
            data, type = payload(data, type)
        try:
            return _core.sse_stream_append(self._core or self._handle, type, data)
        except InvalidArgument:
            raise bad_type() from None

    def send_many(self, items: Iterable[Any], type: str = "") -> str:
        """Appends events of one type in one step, all or none; gives the last
        one's id. The type may be that of Events, if they all have it."""
        check_text("type", type)
        if isinstance(items, (str, bytes, bytearray, Mapping)):
            raise InvalidArgument("items must be several; one is sent by send()")
        items = list(items)
        if not items:
            raise InvalidArgument("items must hold one event at least")
        types = {item.type for item in items if item.__class__ is Event}
        if len(types) > 1 and not type:
            raise InvalidArgument("the events must all have one type")
        type = type or "".join(types)
        texts = [text_of(i.data if i.__class__ is Event else i) for i in items]
        pieces = [utf8(t) if isinstance(t, str) else t for t in texts]
        sizes = array("I", map(len, pieces))
        try:
            return _core.sse_stream_append_batch(
                self._handle, type, b"".join(pieces), sizes
            )
        except InvalidArgument:
            raise bad_type() from None

    def complete(self, data: Any = None, type: str = "") -> str:
        """Ends the stream with an event, `completed` unless named; gives its id."""
        return self._end(COMPLETED, data, type)

    def fail(self, data: Any = None, type: str = "") -> str:
        """Ends the stream with an event, `failed` unless named; gives its id."""
        return self._end(FAILED, data, type)

    def cancel(self, data: Any = None, type: str = "") -> str:
        """Ends it as cancelled, at once: for its producer. Others `stop` it."""
        return self._end(CANCELLED, {"reason": "stop"} if data is None else data, type)

    def _end(self, state: int, data: Any, type: str) -> str:
        if isinstance(data, Event):
            data, type = data.data, type or data.type
        text = "{}" if data is None else text_of(data)
        check_text("type", type)
        try:
            return _core.sse_stream_end(self._handle, state, type, text)
        except InvalidArgument:
            if self.info().is_channel:
                raise InvalidArgument("a channel has no end; remove it") from None
            raise bad_type() from None

    def info(self) -> StreamInfo:
        """The stream as it is now."""
        return StreamInfo(_core.sse_stream_get_info(self._handle))

    @property
    def _handle(self) -> _core.Stream:
        if self._core is None:
            raise HubClosed("the hub has been closed")
        return self._core


def bad_type() -> InvalidArgument:
    return InvalidArgument(InvalidArgument.message)


class Subscription(Handle, Generic[T]):
    """A reader. Iterate over it; it ends behind the terminal event. `reason` says
    then why: ended, lagged, removed or closed.

    Any number of threads may share it, and a signal's handler may raise an exception
    between any two steps of Python's. So there is no lock and no half of a change:
    what C has taken is in `_ready` or `_ends` when its call returns, and who iterates
    is given it by C."""

    def __init__(
        self,
        hub: HubCore,
        stream: Stream,
        cursor: str,
        raw: bool,
        options: Dict[str, int],
    ) -> None:
        self.stream_id: str = stream.id
        self._hub = hub
        self._parser = None if raw else new_parser()
        self._ready: Deque[T] = deque()
        self._ends: List[Union[int, str]] = []  # why it ends; the first one counts
        self._queue = _core.sse_queue_new(hub.handle, None)
        self._fd = _core.sse_queue_fd(self._queue)
        self._subscriber: Optional[_core.Subscriber] = None
        try:
            self._subscriber = _core.sse_subscriber_new(
                stream._handle, self._queue, cursor, options
            )
        except StreamEnded:
            self._ends.append("ended")  # nothing will ever come
        hub.readers.add(self)
        if hub.closed:  # meanwhile
            self.close()

    @property
    def reason(self) -> Optional[str]:
        """Why it ended: ended, lagged, removed or closed; None while it goes on."""
        if not self._ends:
            return None
        first = self._ends[0]
        return first if isinstance(first, str) else REASONS[first]

    def __enter__(self) -> Subscription[T]:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[T]:
        return map(
            _core.sse_next, repeat(self._ready), repeat(self._more), repeat(None)
        )

    def __next__(self) -> T:
        item: T = _core.sse_next(self._ready, self._more, None)
        return item

    def next(self, timeout_s: Optional[float] = None) -> Optional[T]:
        """The next one; None behind the last. TimeoutError when the time given
        passes first."""
        more = self._more
        if timeout_s is not None:
            seconds = seconds_of("timeout_s", max(0.0, timeout_s))
            more = partial(self._more, monotonic() + seconds)
        try:
            item: T = _core.sse_next(self._ready, more, None)
        except StopIteration:
            return None
        return item

    def close(self) -> None:
        """Ends it, in whatever thread it is waited for."""
        self._ends.append("closed")
        self._subscriber = None
        _core.sse_queue_wake(self._queue)

    def _more(self, deadline: Optional[float] = None) -> bool:
        """Waits until something is ready; false when nothing will be."""
        while not self._ready:
            if self._ends:
                return False
            subscriber = self._subscriber
            if subscriber is not None:  # what it gave has been handed over
                _core.sse_subscriber_next(subscriber)
            taken = _core.sse_queue_read(
                self._queue, self._parser, Event, self._ready, self._ends
            )
            if taken == 0:
                self._wait(deadline)
        return True

    def _wait(self, deadline: Optional[float]) -> None:
        # Python's own poll: a signal's handler runs, an exception gets out.
        poll = select.poll()
        poll.register(self._fd, select.POLLIN)
        if deadline is None:
            poll.poll()
            return
        rest = max(0.0, deadline - monotonic())
        if not poll.poll(min(rest, POLL_MAX_S) * 1000) and rest <= POLL_MAX_S:
            raise TimeoutError("nothing came in the time given")


class Hub(Handle):
    """Streams, their logs and their readers. One for each process, as a rule.
    `expose_errors`: what a producer raises is told to readers. The options are those
    of `libsse.Hub`."""

    def __init__(
        self,
        url: str = "memory:",
        *,
        expose_errors: bool = False,
        **options: Unpack[HubOptions],
    ) -> None:
        self.core: HubCore = HubCore(url, cast(Dict[str, Any], options))
        self.core.expose_errors = flag_of("expose_errors", expose_errors)

    @classmethod
    def _of(cls, core: HubCore) -> Hub:
        hub = cls.__new__(cls)
        hub.core = core
        return hub

    def __repr__(self) -> str:
        return f"<Hub {self.core.label}>"

    def __enter__(self) -> Hub:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends it: from now on everything of it raises HubClosed."""
        self.core.close()

    # ---- Streams ----

    def create(
        self,
        id: str = "",
        *,
        user_id: str = "",
        stream_type: str = "",
        metadata: Any = None,
        shared: bool = False,
        channel: bool = False,
        **options: Unpack[StreamOptions],
    ) -> Stream:
        """A new stream. Without an id, the hub makes one up that nobody guesses.
        `shared`: with a store, any hub may append. `channel`: many writers, no
        end."""
        numbers = of_stream(cast(Dict[str, Any], options))
        numbers["flags"] = kind_of_stream(shared, channel)
        return self._create(id, user_id, stream_type, metadata, None, numbers)

    def _create(
        self,
        id: str,
        user_id: str,
        stream_type: str,
        metadata: Any,
        producer: Optional[_core.Queue],
        numbers: Dict[str, int],
    ) -> Stream:
        """All that may be refused is refused before there is a stream."""
        if id != "":
            check_id(id)
        for name, text in (("user_id", user_id), ("stream_type", stream_type)):
            if len(utf8(check_text(name, text))) > TEXT_MAX:
                raise TooLarge(f"{name} is longer than {TEXT_MAX} bytes")
        raw = b"" if metadata is None else raw_json(metadata)
        if len(raw) > METADATA_MAX:
            raise TooLarge(f"the metadata are longer than {METADATA_MAX} bytes")
        handle = self.core.handle
        core = _core.sse_stream_new(handle, id, producer, numbers)
        id = id or _core.sse_stream_get_info(core)["id"]
        try:
            if user_id:
                _core.sse_stream_set_owner(core, user_id)
            if stream_type:
                _core.sse_stream_set_kind(core, stream_type)
            if raw:
                _core.sse_stream_set_metadata(core, raw)
        except Exception:
            _core.sse_hub_remove(handle, id)
            raise
        policy = numbers.get("slow_policy", self.core.options.get("slow_policy"))
        if policy == BLOCK:
            self.core.waits = True  # a handle that is opened does not know it
        shared = self.core.has_store and bool(numbers["flags"] & SHARED)
        return Stream(self.core, core, id, shared or policy == BLOCK)

    def open(self, id: str) -> Stream:
        """A handle on a stream that there is. StreamNotFound, if there is none."""
        core = _core.sse_stream_open(self.core.handle, check_id(id))
        return Stream(self.core, core, id, self.core.waits)

    def stop(self, id: str) -> None:
        """Asks a stream's producer to stop, wherever it runs."""
        _core.sse_hub_stop(self.core.handle, check_id(id))

    def remove(self, id: str) -> None:
        """Forgets a stream, and ends its subscriptions."""
        _core.sse_hub_remove(self.core.handle, check_id(id))

    def streams(self, *, user_id: str = "") -> List[StreamInfo]:
        """A user's streams, or everybody's; newest first."""
        found = _core.sse_list_new(self.core.handle, check_text("user_id", user_id))
        infos: List[StreamInfo] = []
        while True:
            info = _core.sse_list_next(found)
            if info is None:
                return infos
            infos.append(StreamInfo(info))

    def info(self, id: str) -> StreamInfo:
        """A stream as it is now. StreamNotFound, if there is none."""
        return self.open(id).info()

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
        check_text("last_event_id", last_event_id)
        options = reader_options(heartbeat_ms, retry_ms)
        stream = self.open(id)
        if flag_of("raw", raw):
            return Subscription[bytes](self.core, stream, last_event_id, True, options)
        return Subscription[Event](self.core, stream, last_event_id, False, options)

    def recover(self, id: str, after: str = "") -> Recovered:
        """What is known of a stream, with the events kept behind `after`."""
        check_text("after", after)
        _core.sse_hub_refresh(self.core.handle, check_id(id))
        stream = self.open(id)
        whole = self._kept(stream, "")
        info = stream.info()
        last = next((e for e in reversed(whole) if e.gap is None), None)
        terminal = last if info.state != "active" else None
        events = whole
        if after not in ("", "0"):
            try:
                events = self._kept(stream, after)
            except StreamEnded:
                events = []
        return Recovered(info, events, last.id if last else "0", terminal)

    def look(self, id: str, after: str = "") -> List[Event]:
        """The events behind `after` that there are now. StreamEnded when `after` is
        the terminal event."""
        return self._kept(self.open(id), after)

    def _kept(self, stream: Stream, after: str) -> List[Event]:
        """The log's events behind the cursor, through a reader of the moment. What
        libsse put in front of them, a gap, has no id."""
        queue = _core.sse_queue_new(self.core.handle, None)
        options = {"heartbeat_ms": NEVER, "retry_ms": NEVER}
        reader = _core.sse_subscriber_new(stream._handle, queue, after, options)
        events: List[Event] = []
        parser, last = new_parser(), ""
        while _core.sse_queue_read(queue, parser, Event, events, []) > 0:
            pass
        del reader
        for event in events:
            event.id, last = ("" if event.id == last else event.id), event.id
        return events

    # ---- The hub ----

    def settle(self, id: str, state: str, data: Any = None, type: str = "") -> None:
        """Says what became of a stream whose producer went silent: "completed",
        "failed", "cancelled", or "active": it still runs."""
        states = ("active", "completed", "failed", "cancelled")
        if state not in states:
            raise ValueError(f"the state is one of {', '.join(states)}")
        _core.sse_hub_settle(
            self.core.handle,
            check_id(id),
            states.index(state),
            check_text("type", type),
            "{}" if data is None else text_of(data),
        )

    def metrics(self) -> str:
        """Prometheus text."""
        return _core.sse_hub_metrics(self.core.handle).decode()

    def store_error(self) -> str:
        """Why the store cannot be reached now; "" when all is well."""
        return _core.sse_hub_store_error(self.core.handle)


def reader_options(
    heartbeat_ms: Optional[int], retry_ms: Optional[int]
) -> Dict[str, int]:
    return {
        "flags": HOLD,
        "heartbeat_ms": number_of("heartbeat_ms", heartbeat_ms),
        "retry_ms": number_of("retry_ms", retry_ms),
    }


def raw_json(value: Any) -> bytes:
    """JSON text as bytes: given as bytes, it is taken as it is."""
    if isinstance(value, bytes):
        return value
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    except (ValueError, RecursionError) as error:  # NaN, a circle, too deep
        raise InvalidArgument(f"the metadata have no JSON: {error}") from None
    return utf8(text)
