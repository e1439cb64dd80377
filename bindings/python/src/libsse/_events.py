"""Events, and what stands on the wire for them."""

from __future__ import annotations

import dataclasses
import json
import re
from typing import Any, Iterator, List, NamedTuple, Optional, Union

from . import _core
from ._handles import Handle
from ._options import number_of
from .errors import BadCursor, BadStreamId, InvalidArgument, NotUTF8, saying

# Larger than any event that libsse's servers send.
MAX_EVENT_BYTES = 64 << 20


class Gap(NamedTuple):
    """Events that are gone: numbers `first` to `last`."""

    first: int
    last: int
    missed: Optional[int]
    reason: str


@dataclasses.dataclass(init=False, repr=False, eq=False)
class Event:
    """One event. To send, `data` may be anything that `Stream.send` takes; of one
    that was received, it is text."""

    __slots__ = ("data", "id", "type")

    data: Any
    type: str
    id: str

    def __init__(self, data: Any = "", type: str = "message", id: str = "") -> None:
        self.data = data
        self.type = type
        self.id = id

    def __repr__(self) -> str:
        return f"Event(data={self.data!r}, type={self.type!r}, id={self.id!r})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Event):
            return NotImplemented
        mine = (self.data, self.type, self.id)
        return mine == (other.data, other.type, other.id)

    def json(self) -> Any:
        """The data, as the JSON value that it is the text of."""
        try:
            return json.loads(self.data)
        except RecursionError:
            raise ValueError("the data is nested too deeply") from None

    @property
    def gap(self) -> Optional[Gap]:
        """What is missing, where this is a server's gap event; else None."""
        if self.type != "gap":
            return None
        try:
            told = json.loads(self.data)
            return Gap(told["from"], told["to"], told["missed"], told["reason"])
        except (ValueError, KeyError, TypeError, RecursionError):
            return None


def text_of(data: Any) -> Union[str, bytes]:
    """What is sent for a value: text as it is, anything else as JSON."""
    if isinstance(data, str):
        return data
    if isinstance(data, (bytes, bytearray, memoryview)):
        return bytes(data)
    if hasattr(type(data), "model_dump_json"):  # pydantic 2
        return str(data.model_dump_json())
    if hasattr(data, "__fields__") and hasattr(data, "json"):  # pydantic 1
        return str(data.json())
    try:
        return json.dumps(
            data,
            ensure_ascii=False,
            allow_nan=False,
            separators=(",", ":"),
            default=_plain,
        )
    except (ValueError, RecursionError) as error:  # NaN, a circle, too deep
        raise InvalidArgument(f"the data has no JSON: {error}") from None


def _plain(value: Any) -> Any:
    """For what JSON does not know, also deep within what it does."""
    kind = type(value)
    if dataclasses.is_dataclass(kind):
        return {f.name: getattr(value, f.name) for f in dataclasses.fields(kind)}
    if hasattr(kind, "model_dump_json"):
        return value.model_dump(mode="json")
    if hasattr(kind, "__fields__") and hasattr(kind, "json"):  # pydantic 1
        return json.loads(value.json())
    raise TypeError(f"Object of type {kind.__name__} is not JSON serializable")


def check_text(name: str, value: object) -> str:
    """Refuses what is no str, before it reaches C."""
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a str, not {type(value).__name__}")
    return value


def without_secrets(url: str) -> str:
    """For a repr: a log is read by more people than may have the password."""
    return re.sub(r"//[^/]*@", "//", url.partition("?")[0])


def utf8(text: str) -> bytes:
    """Half of a surrogate pair has none."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise NotUTF8(NotUTF8.message) from None


_STREAM_ID = re.compile(r"[A-Za-z0-9._~:@+-]{1,255}")
_CURSOR = re.compile(r"0?|\$|([1-9][0-9]{0,13}|10{14})(-[0-9a-f]{8})?")


def check_id(id: object) -> str:
    """A stream's id, or an exception."""
    if not _STREAM_ID.fullmatch(check_text("id", id)):
        raise BadStreamId(BadStreamId.message)
    return str(id)


def check_cursor(text: str) -> None:
    """Before a stream is made for who asks with it: what is refused changes
    nothing."""
    if not _CURSOR.fullmatch(text):
        raise BadCursor(BadCursor.message)


def encode(
    data: Any, type: str = "", id: str = "", *, retry_ms: Optional[int] = None
) -> bytes:
    """One event as it stands on the wire. `data` is an Event, or what
    `Stream.send` takes."""
    if isinstance(data, Event):
        data, type, id = data.data, type or data.type, id or data.id
    head = (
        b""
        if retry_ms is None
        else _core.sse_encode_retry(number_of("retry_ms", retry_ms))
    )
    with saying("the type and the id must be one line without NUL"):
        return head + _core.sse_encode_event(
            check_text("type", type), text_of(data), check_text("id", id)
        )


def encode_comment(text: str) -> bytes:
    """A comment, which readers do not see."""
    return _core.sse_encode_comment(check_text("text", text))


def new_parser(max_event_bytes: int = MAX_EVENT_BYTES) -> _core.Parser:
    return _core.sse_parser_new(2, max_event_bytes)


class Parser(Handle):
    """Turns pieces of a text/event-stream body, cut anywhere, into events."""

    __slots__ = ("_core", "retry_ms")

    def __init__(self, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self._core = new_parser(max_event_bytes)
        self.retry_ms: Optional[int] = None

    def feed(self, data: Union[bytes, bytearray, memoryview, str]) -> List[Event]:
        """The events that are complete with this piece."""
        events: List[Event] = []
        retry_ms = _core.sse_parser_take(self._core, data, Event, events)
        if retry_ms >= 0:
            self.retry_ms = retry_ms
        return events

    @property
    def last_event_id(self) -> str:
        """What the next request must send."""
        return _core.sse_parser_last_event_id(self._core)

    def reset(self, last_event_id: str = "") -> None:
        """Starts a new body: what is unfinished is forgotten."""
        _core.sse_parser_reset(self._core, check_text("last_event_id", last_event_id))


def parse(body: Union[bytes, bytearray, memoryview, str]) -> Iterator[Event]:
    """The events of a whole text/event-stream body."""
    return iter(Parser().feed(body))
