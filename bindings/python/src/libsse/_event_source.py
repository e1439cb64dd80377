"""One generator for one reader, without a hub: the response that sse-starlette has,
with its parameters."""

from __future__ import annotations

import json
import re
from typing import Any, Awaitable, Callable, Dict, List, Mapping, Optional, Union

from ._asgi_base import BaseResponse, Message, Receive, Scope, Send, merge
from ._asgi_base import stream_headers
from ._events import Event, check_text, encode, text_of
from ._options import seconds_of
from .errors import InvalidArgument

__all__ = [
    "EventSourceResponse",
    "JSONServerSentEvent",
    "SendTimeoutError",
    "ServerSentEvent",
]

SEPARATORS = ("\r\n", "\r", "\n")
CLEANUP_S = 30.0


class SendTimeoutError(TimeoutError):
    """The reader took nothing for `send_timeout` seconds."""


class ServerSentEvent:
    """One event by its fields; those that are None are left out."""

    DEFAULT_SEPARATOR: str = "\r\n"

    def __init__(
        self,
        data: Any = None,
        *,
        event: Optional[str] = None,
        id: Union[str, int, None] = None,
        retry: Optional[int] = None,
        comment: Optional[str] = None,
        sep: Optional[str] = None,
    ) -> None:
        self.data: Any = data
        self.event: Optional[str] = event
        self.id: Union[str, int, None] = id
        self.retry: Optional[int] = retry
        self.comment: Optional[str] = comment
        self._sep = self.DEFAULT_SEPARATOR if sep is None else check_text("sep", sep)

    def encode(self) -> bytes:
        """As it stands on the wire. Line ends within `event` and `id` are dropped, so
        that they cannot become fields."""
        lines: List[str] = []
        if self.comment is not None:
            lines += [f": {line}" for line in _lines(str(self.comment))]
        if self.id is not None:
            lines.append("id: " + _NOT_IN_A_LINE.sub("", str(self.id)))
        if self.event is not None:
            lines.append("event: " + _NOT_IN_A_LINE.sub("", str(self.event)))
        if self.data is not None:
            text = text_of(self.data)
            text = text.decode() if isinstance(text, bytes) else text
            lines += [f"data: {line}" for line in _lines(text)]
        if self.retry is not None:
            if not isinstance(self.retry, int):
                raise TypeError("retry is a number of milliseconds, an int")
            lines.append(f"retry: {self.retry}")
        return self._sep.join([*lines, "", ""]).encode()


class JSONServerSentEvent(ServerSentEvent):
    """One event, whose data is always sent as JSON, text too."""

    def __init__(self, data: Any = None, **fields: Any) -> None:
        super().__init__(None if data is None else _json_text(data), **fields)


class EventSourceResponse(BaseResponse):
    """Sends what an iterable gives, async or not, event by event to one reader,
    without a hub: nothing can be resumed. A program that has imported this from
    sse_starlette may import it from libsse.asgi.

    Items are text, dicts with "data", "event", "id", "retry" or "comment",
    ServerSentEvents, Events, bytes as they stand on the wire, or anything that has
    JSON. The iterable is closed in every case, so its `finally` runs: at its end, at
    an error, when the reader is gone or takes nothing for `send_timeout` seconds,
    and when the server ends. It has `cleanup_timeout` seconds for that."""

    DEFAULT_PING_INTERVAL: float = 15
    DEFAULT_SEPARATOR: str = "\r\n"
    media_type = "text/event-stream"

    def __init__(
        self,
        content: Any,
        status_code: int = 200,
        headers: Optional[Mapping[str, str]] = None,
        media_type: Optional[str] = "text/event-stream",
        background: Any = None,
        ping: Optional[float] = None,
        sep: Optional[str] = None,
        ping_message_factory: Optional[Callable[[], Any]] = None,
        data_sender_callable: Optional[Callable[[], Awaitable[Any]]] = None,
        send_timeout: Optional[float] = None,
        client_close_handler_callable: Optional[
            Callable[[Message], Awaitable[Any]]
        ] = None,
        shutdown_event: Any = None,
        shutdown_grace_period: float = 0,
        cleanup_timeout: Optional[float] = CLEANUP_S,
    ) -> None:
        if not hasattr(content, "__aiter__") and not hasattr(content, "__iter__"):
            told = "the content must be an iterable, async or not; is it to be called?"
            raise TypeError(told)
        if sep is not None and sep not in SEPARATORS:
            raise ValueError(f"sep must be one of {', '.join(map(repr, SEPARATORS))}")
        if media_type is not None:
            check_text("media_type", media_type)
        own = dict(headers or {})
        if "content-type" not in {name.lower() for name in own}:
            own["content-type"] = media_type or self.media_type
        super().__init__((), status_code=status_code, headers=own)
        self.background: Any = background
        self.body_iterator = content
        self.sep: str = sep or self.DEFAULT_SEPARATOR
        self.ping_interval: float = seconds_of(
            "ping", self.DEFAULT_PING_INTERVAL if ping is None else ping
        )
        self.ping_message_factory: Optional[Callable[[], Any]] = ping_message_factory
        self.data_sender_callable: Optional[Callable[[], Awaitable[Any]]] = (
            data_sender_callable
        )
        self.send_timeout: Optional[float] = (
            None if send_timeout is None else seconds_of("send_timeout", send_timeout)
        )
        self.client_close_handler_callable: Optional[
            Callable[[Message], Awaitable[Any]]
        ] = client_close_handler_callable
        self.shutdown_event: Any = shutdown_event
        self.shutdown_grace_period: float = seconds_of(
            "shutdown_grace_period", shutdown_grace_period
        )
        self.cleanup_timeout: Optional[float] = cleanup_timeout
        if cleanup_timeout is not None:
            seconds_of("cleanup_timeout", cleanup_timeout)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        from ._sending import Sending

        if scope["type"] == "websocket":
            send = _denying(send)
        headers = merge(self.raw_headers, stream_headers(scope, ""))
        start = {
            "type": "http.response.start",
            "status": self.status_code,
            "headers": headers,
        }
        await send(start)
        if scope.get("method") == "HEAD":
            await send({"type": "http.response.body", "body": b""})
        else:
            await Sending(self, receive, send).run()
        if self.background is not None:
            await self.background()

    def item(self, item: Any) -> bytes:
        """One item as it stands on the wire."""
        return item_bytes(item, self.sep)

    def ping(self) -> bytes:
        """What is sent to a reader who has had no byte for a while."""
        if self.ping_message_factory is None:
            return f": ping{self.sep}{self.sep}".encode()
        return self.item(self.ping_message_factory())


def item_bytes(item: Any, sep: str) -> bytes:
    if isinstance(item, (bytes, bytearray, memoryview)):
        return bytes(item)
    if isinstance(item, dict) and item and item.keys() <= _FIELDS:
        return ServerSentEvent(**{**item, "sep": sep}).encode()
    if isinstance(item, (str, dict, Event)):
        return encode(item).replace(b"\n", sep.encode())
    if hasattr(item, "raw_data") and hasattr(item, "comment"):
        return _of_fastapi(item, sep).encode()
    if hasattr(item, "encode"):  # a ServerSentEvent, of whatever package
        return bytes(item.encode())
    return encode(item).replace(b"\n", sep.encode())


_FIELDS = {"data", "event", "id", "retry", "comment", "sep"}
_LINE_END = re.compile(r"\r\n|\r|\n")
_NOT_IN_A_LINE = re.compile(r"[\r\n\0]")


def _lines(text: str) -> List[str]:
    return _LINE_END.split(text)


def _json_text(value: Any) -> str:
    try:
        return json.dumps(
            value, ensure_ascii=False, allow_nan=False, separators=(",", ":")
        )
    except RecursionError as error:
        raise InvalidArgument(f"the data has no JSON: {error}") from None


def _of_fastapi(item: Any, sep: str) -> ServerSentEvent:
    """What `fastapi.sse` has: its data is JSON, its raw_data text."""
    fields: Dict[str, Any] = {
        name: getattr(item, name) for name in ("event", "id", "retry", "comment")
    }
    data = item.raw_data
    if data is None and isinstance(item.data, str):
        data = _json_text(item.data)
    return ServerSentEvent(item.data if data is None else data, sep=sep, **fields)


def _denying(send: Send) -> Send:
    """A WebSocket's handshake that is answered with a response."""

    async def denying(message: Message) -> None:
        if message["type"].startswith("http.response."):
            message = {**message, "type": "websocket." + message["type"]}
        await send(message)

    return denying
