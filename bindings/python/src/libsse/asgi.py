"""Responses and an application for any ASGI server; with Starlette where there is
one, whose response they are then."""

from __future__ import annotations

import asyncio
import inspect
import json
import random
from typing import (
    TYPE_CHECKING,
    Any,
    Awaitable,
    Callable,
    Dict,
    Iterable,
    List,
    Mapping,
    MutableMapping,
    Optional,
    Sequence,
    Tuple,
    Union,
)

from ._api import Answer, Api, Call, Follow, Request, event_json, json_answer
from ._events import Event, encode, encode_comment
from ._subscription import Subscription
from .errors import Forbidden, SSEError, StreamEnded, StreamNotFound

if TYPE_CHECKING:
    from starlette.responses import StreamingResponse as _Base

    from ._hub import Hub
else:
    try:
        from starlette.responses import StreamingResponse as _Base
    except ImportError:  # a plain ASGI application is enough

        class _Base:
            def __init__(self, content, status_code=200, headers=None, **_):
                self.status_code = status_code
                self.background = None
                self.raw_headers = _raw((headers or {}).items())


__all__ = ["Application", "EventSourceResponse", "StreamResponse"]

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
RawHeaders = List[Tuple[bytes, bytes]]

# Says who may: True or None lets it pass, False refuses it, and a str is the user's
# name: streams of other users do not exist then.
Authorize = Callable[[Any, str, str], Any]

RETRY_MS = (1000, 3000)  # when the server shuts down, so that not all come at once


def _raw(headers: Iterable[Tuple[str, str]]) -> RawHeaders:
    return [(k.lower().encode("latin-1"), v.encode("latin-1")) for k, v in headers]


def stream_headers(scope: Scope, stream_id: str) -> RawHeaders:
    headers = [
        ("content-type", "text/event-stream"),
        ("cache-control", "no-cache, no-transform"),
        ("x-accel-buffering", "no"),
    ]
    if stream_id:
        headers.append(("x-stream-id", stream_id))
    if scope.get("http_version") == "1.1":  # forbidden in HTTP/2
        headers.append(("connection", "keep-alive"))
    return _raw(headers)


def merge(own: RawHeaders, extra: RawHeaders) -> RawHeaders:
    """Our headers, and the others that have another name."""
    names = {name for name, _ in own}
    return own + [header for header in extra if header[0] not in names]


def request_of(scope: Scope, body: bytes = b"") -> Request:
    headers = {
        name.decode("latin-1").lower(): value.decode("latin-1")
        for name, value in scope["headers"]
    }
    path = scope["path"]
    return Request(scope["method"], path, scope["query_string"], headers, body)


async def send_answer(
    scope: Scope, send: Send, answer: Answer, extra: RawHeaders
) -> None:
    headers = _raw(answer.headers)
    if answer.status != 204:
        headers += _raw(
            [
                ("content-type", answer.content_type),
                ("content-length", str(len(answer.body))),
            ]
        )
    await send(
        {
            "type": "http.response.start",
            "status": answer.status,
            "headers": merge(headers, extra),
        }
    )
    body = b"" if scope["method"] == "HEAD" else answer.body
    await send({"type": "http.response.body", "body": body})


async def until_gone(receive: Receive) -> None:
    """Returns when the caller has gone away."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def send_stream(
    scope: Scope, receive: Receive, send: Send, reader: Subscription[bytes], extra: RawHeaders
) -> None:
    """Sends what an open reader gets. One that goes away ends only itself."""
    headers = merge(stream_headers(scope, reader.stream_id), extra)
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    watcher = asyncio.ensure_future(until_gone(receive))
    watcher.add_done_callback(lambda _: reader.close())
    try:
        async for piece in reader:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        if reader.reason == "closed":
            return  # nobody is there
        last = b""
        if reader.reason == "shutdown":
            last = b"retry: %d\n\n" % random.randint(*RETRY_MS)
        await send({"type": "http.response.body", "body": last})
    except OSError:
        pass  # what a server raises when the caller is gone
    finally:
        reader.close()
        watcher.cancel()


async def poll_answer(hub: Hub, follow: Follow, wait_s: float) -> Answer:
    """The events behind the cursor, as JSON: at once, or when the first comes."""
    id = follow.stream_id
    try:
        if wait_s > 0:
            events = await _wait_for_some(hub, follow, wait_s)
        else:
            events = await hub._run(hub.sync.look, id, follow.cursor)
    except StreamEnded:
        return Answer(204)
    info = await hub.info(id)
    named = [event.id for event in events if event.id]
    last = named[-1] if named else (await hub.recover(id, "$")).last_event_id
    told = {
        "events": [event_json(event) for event in events],
        "lastEventId": last,
        "state": info.state,
    }
    return json_answer(200, json.dumps(told))


async def _wait_for_some(hub: Hub, follow: Follow, wait_s: float) -> List[Event]:
    """The first event, and what came with it; nothing when the time is over."""
    reader = hub.subscribe(
        follow.stream_id, follow.cursor, heartbeat_ms=None, retry_ms=None
    )
    try:
        await reader.open()
        first = await asyncio.wait_for(reader.__anext__(), wait_s)
        return [first, *reader.take_ready()]
    except asyncio.TimeoutError:
        return []
    except StopAsyncIteration:
        if reader.reason == "removed":
            raise StreamNotFound(StreamNotFound.message) from None
        return []
    finally:
        reader.close()


class StreamResponse(_Base):
    """What `hub.respond` gives: the stream that a request asks for."""

    def __init__(
        self,
        hub: Hub,
        request: Any,
        stream_id: str,
        producer: Optional[Callable[..., Any]],
        user_id: str,
        fields: Dict[str, Any],
        headers: Mapping[str, str],
    ) -> None:
        from ._events import check_id

        super().__init__((), headers=dict(headers))
        self._hub = hub
        self._scope: Optional[Scope] = getattr(request, "scope", None)
        self._id = check_id(stream_id)
        self._producer = producer
        self._user = user_id
        self._fields = fields
        if producer is not None and not callable(producer):
            raise TypeError(
                "a producer is a function: it is called once, and only if the "
                "stream is new"
            )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = request_of(self._scope or scope)
        api = self._hub._api
        answer: Optional[Answer] = None
        try:
            await self._ensure()
            if request.poll:
                follow = Follow(self._id, request.cursor, True)
                answer = await poll_answer(self._hub, follow, POLL_S)
            else:
                await self._stream(request, scope, receive, send)
        except StreamEnded:
            answer = Answer(204)
        except SSEError as error:
            answer = api.refuse(error)
        if answer is not None:
            await send_answer(scope, send, answer, self.raw_headers)
        if self.background is not None:
            await self.background()

    async def _ensure(self) -> None:
        """The stream exists, and is the user's."""
        hub = self._hub
        if self._producer is None:
            stream = await hub.open(self._id)
        else:
            stream = await hub.create_or_open(
                self._id, self._producer, user_id=self._user, **self._fields
            )
        if self._user and stream.sync.info().user_id not in ("", self._user):
            raise StreamNotFound(StreamNotFound.message)

    async def _stream(
        self, request: Request, scope: Scope, receive: Receive, send: Send
    ) -> None:
        reader = self._hub.subscribe(self._id, request.cursor, raw=True)
        await reader.open()
        if scope["method"] == "HEAD":
            reader.close()
            headers = merge(stream_headers(scope, self._id), self.raw_headers)
            await send(
                {"type": "http.response.start", "status": 200, "headers": headers}
            )
            await send({"type": "http.response.body", "body": b""})
            return
        await send_stream(scope, receive, send, reader, self.raw_headers)


POLL_S = 25.0


class Application:
    """The whole HTTP interface of docs/http.md as an ASGI application: below the
    prefix, and /metrics and /health beside it.

    `authorize(request, verb, stream_id)` decides who may do what; verbs are create,
    read, append, stop, recover, list, remove and metrics. It may be async."""

    def __init__(
        self,
        hub: Hub,
        *,
        prefix: str = "/api/stream",
        authorize: Optional[Authorize] = None,
        origins: Sequence[str] = (),
        poll_timeout_s: float = POLL_S,
    ) -> None:
        self.hub: Hub = hub
        self.authorize: Optional[Authorize] = authorize
        self.poll_timeout_s: float = poll_timeout_s
        self.api: Api = Api(hub.sync, prefix, origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(self.hub, receive, send)
            return
        if scope["type"] != "http":
            raise RuntimeError(f"there is no {scope['type']} here")
        request = request_of(scope)
        extra = _raw(self.api.cors(request))
        self.api.closing = self.hub.closing
        route = self.api.route(request.method, request.path)
        answer: Union[Answer, Follow]
        try:
            if isinstance(route, Answer):
                answer = route
            elif not await self._may(scope, receive, route, request):
                answer = self.api.refuse(Forbidden())
            else:
                if request.method == "POST":
                    request.body = await read_body(receive)
                answer = await self.hub._run(self.api.answer, route, request)
            if isinstance(answer, Follow):
                follow = self._follow(answer, scope, receive, send, extra)
                answered = await follow
                if answered is None:
                    return
                answer = answered
        except SSEError as error:
            answer = self.api.refuse(error)
        except ClientGone:
            return
        await send_answer(scope, send, answer, extra)

    async def _may(
        self, scope: Scope, receive: Receive, call: Call, request: Request
    ) -> bool:
        if self.authorize is None or call.verb == "health":
            return True
        verb = "append" if call.verb in ("complete", "fail") else call.verb
        word = self.authorize(_friendly(scope, receive), verb, call.stream_id)
        if inspect.isawaitable(word):
            word = await word
        if isinstance(word, str):
            request.user = word
            return True
        return word is None or bool(word)

    async def _follow(
        self,
        follow: Follow,
        scope: Scope,
        receive: Receive,
        send: Send,
        extra: RawHeaders,
    ) -> Optional[Answer]:
        """None when it has been answered."""
        is_head = scope["method"] == "HEAD"
        if follow.poll:
            wait_s = 0.0 if is_head else self.poll_timeout_s
            return await poll_answer(self.hub, follow, wait_s)
        reader = self.hub.subscribe(follow.stream_id, follow.cursor, raw=True)
        try:
            await reader.open()
        except StreamEnded:
            return Answer(204)
        if is_head:
            reader.close()
            headers = merge(stream_headers(scope, follow.stream_id), extra)
            await send(
                {"type": "http.response.start", "status": 200, "headers": headers}
            )
            await send({"type": "http.response.body", "body": b""})
        else:
            await send_stream(scope, receive, send, reader, extra)
        return None


class ClientGone(Exception):
    pass


async def read_body(receive: Receive) -> bytes:
    from ._api import BODY_MAX

    pieces: List[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        piece = message.get("body", b"")
        size += len(piece)
        if size <= BODY_MAX + 1:  # what is too large is read, and refused
            pieces.append(piece)
        if not message.get("more_body", False):
            return b"".join(pieces) if size <= BODY_MAX else b" " * (BODY_MAX + 1)


def _friendly(scope: Scope, receive: Receive) -> Any:
    """The request as hooks know it: Starlette's where there is one."""
    try:
        from starlette.requests import Request as StarletteRequest
    except ImportError:
        return scope
    return StarletteRequest(scope, receive)


async def _lifespan(hub: Hub, receive: Receive, send: Send) -> None:
    await receive()
    async with hub.lifespan(None):
        await send({"type": "lifespan.startup.complete"})
        await receive()
    await send({"type": "lifespan.shutdown.complete"})


class EventSourceResponse(_Base):
    """Sends what an async iterable gives, event by event, for one reader, without a
    hub: nothing can be resumed. Items are Events, dicts with "data", "event", "id",
    "retry" or "comment", or what `Stream.send` takes.

    `ping` seconds without an item bring a comment; `sep` and other parameters of
    sse-starlette that the standard has no use for are not here."""

    def __init__(
        self,
        content: Any,
        status_code: int = 200,
        headers: Optional[Mapping[str, str]] = None,
        media_type: str = "text/event-stream",
        background: Any = None,
        ping: Optional[float] = 15,
        ping_message_factory: Optional[Callable[[], Any]] = None,
        data_sender_callable: Optional[Callable[[], Awaitable[None]]] = None,
        send_timeout: Optional[float] = None,
        client_close_handler_callable: Optional[
            Callable[[Message], Awaitable[None]]
        ] = None,
    ) -> None:
        super().__init__((), status_code=status_code, headers=headers)
        self.background: Any = background
        self._content = content
        self._media_type = media_type
        self._ping_s = ping
        self._ping_message = ping_message_factory
        self._data_sender = data_sender_callable
        self._send_timeout = send_timeout
        self._on_close = client_close_handler_callable

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = merge(stream_headers(scope, ""), self.raw_headers)
        headers[0] = (b"content-type", self._media_type.encode())
        await send(
            {
                "type": "http.response.start",
                "status": self.status_code,
                "headers": headers,
            }
        )
        work = asyncio.ensure_future(self._send_all(send))
        gone = asyncio.ensure_future(self._watch(receive))
        helpers = [gone]
        if self._data_sender is not None:
            helpers.append(asyncio.ensure_future(_forever(self._data_sender())))
        try:
            await asyncio.wait([work, gone], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in [work, *helpers]:
                task.cancel()
            await asyncio.gather(work, *helpers, return_exceptions=True)
        if not work.cancelled() and work.exception() is not None:
            raise work.exception()  # type: ignore[misc]
        if self.background is not None:
            await self.background()

    async def _watch(self, receive: Receive) -> None:
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                break
        if self._on_close is not None:
            await self._on_close(message)

    async def _send_all(self, send: Send) -> None:
        """Ends with the items, or when cancelled: their `finally` runs then."""
        items = _async_iterator(self._content)
        step = asyncio.ensure_future(items.__anext__())
        try:
            while True:
                await asyncio.wait([step], timeout=self._ping_s)
                if not step.done():
                    await self._put(send, self._ping_bytes())
                    continue
                try:
                    item = step.result()
                except StopAsyncIteration:
                    break
                await self._put(send, item_bytes(item))
                step = asyncio.ensure_future(items.__anext__())
            await send({"type": "http.response.body", "body": b""})
        except OSError:
            pass  # the caller is gone
        finally:
            if not step.done():
                step.cancel()
                await asyncio.gather(step, return_exceptions=True)
            close = getattr(items, "aclose", None)
            if close is not None:
                await close()

    async def _put(self, send: Send, data: bytes) -> None:
        message = {"type": "http.response.body", "body": data, "more_body": True}
        if self._send_timeout is None:
            await send(message)
        else:
            await asyncio.wait_for(send(message), self._send_timeout)

    def _ping_bytes(self) -> bytes:
        if self._ping_message is None:
            return b": ping\n\n"
        return item_bytes(self._ping_message())


async def _forever(work: Awaitable[None]) -> None:
    await work


def _async_iterator(content: Any) -> Any:
    if hasattr(content, "__aiter__"):
        return content.__aiter__()
    if not hasattr(content, "__iter__"):
        raise TypeError("the content must be an iterable, async or not")
    return _from_thread(iter(content))


async def _from_thread(items: Any) -> Any:
    loop = asyncio.get_running_loop()
    end = object()
    while True:
        item = await loop.run_in_executor(None, next, items, end)
        if item is end:
            return
        yield item


def item_bytes(item: Any) -> bytes:
    """One item as it stands on the wire."""
    if isinstance(item, bytes):
        return item
    if hasattr(item, "encode") and not isinstance(item, str):  # ServerSentEvent
        return bytes(item.encode())
    if isinstance(item, dict):
        fields: Dict[str, Any] = item
        if fields and fields.keys() <= _FIELDS:
            return _dict_bytes(fields)
    return encode(item)


_FIELDS = {"data", "event", "id", "retry", "comment"}


def _dict_bytes(item: Dict[str, Any]) -> bytes:
    out = b""
    if item.get("comment") is not None:
        out += encode_comment(str(item["comment"]))
    if "data" in item or "event" in item or "id" in item:
        id = item.get("id")
        out += encode(
            item.get("data", ""),
            str(item.get("event") or ""),
            "" if id is None else str(id),
            retry_ms=item.get("retry"),
        )
    elif item.get("retry") is not None:
        out += b"retry: %d\n\n" % item["retry"]
    return out
