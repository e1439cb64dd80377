"""Responses and an application for any ASGI server; with Starlette where there is
one, whose response they are then."""

from __future__ import annotations

import functools
import inspect
import json
import random
from typing import (
    Any,
    Awaitable,
    Callable,
    Dict,
    List,
    Mapping,
    Optional,
    Sequence,
    Union,
)

from . import _loop
from ._api import (
    BODY_MAX,
    Answer,
    Api,
    Call,
    Follow,
    Request,
    allows,
    check_hook,
    event_json,
    json_answer,
)
from ._asgi_base import (
    BaseResponse,
    RawHeaders,
    Receive,
    Scope,
    Send,
    merge,
    raw_headers,
    request_of,
    send_answer,
    stream_headers,
    until_gone,
)
from ._event_source import (
    EventSourceResponse,
    JSONServerSentEvent,
    SendTimeoutError,
    ServerSentEvent,
)
from ._events import Event, check_cursor, check_id
from ._hub import Hub
from ._options import seconds_of
from ._producer import check_producer
from ._subscription import Subscription
from .errors import Forbidden, SSEError, StreamEnded, StreamNotFound

__all__ = [
    "Application",
    "EventSourceResponse",
    "JSONServerSentEvent",
    "SendTimeoutError",
    "ServerSentEvent",
    "StreamResponse",
]

# Says who may: True or None lets it pass, False refuses it, and a str is the user's
# name: streams of other users do not exist then.
Word = Union[bool, str, None]
Authorize = Callable[[Any, str, str], Union[Word, Awaitable[Word]]]

POLL_S = 25.0
RETRY_MS = (1000, 3000)  # when the server shuts down, so that not all come at once


async def send_stream(
    scope: Scope,
    receive: Receive,
    send: Send,
    reader: Subscription[bytes],
    extra: RawHeaders,
) -> None:
    """Sends what an open reader gets. One that goes away ends only itself."""

    async def watch() -> None:
        await until_gone(receive)
        reader.close()

    headers = merge(stream_headers(scope, reader.stream_id), extra)
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    try:
        await _loop.here().attended(functools.partial(_write, send, reader), watch)
    except OSError:
        pass  # what a server raises when the caller is gone
    finally:
        reader.close()


async def _write(send: Send, reader: Subscription[bytes]) -> None:
    ready = reader._ready
    while ready or await reader._more():
        piece = ready.popleft()
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    if reader.reason == "closed":
        return  # nobody is there
    last = b""
    if reader.reason == "shutdown":
        last = b"retry: %d\n\n" % random.randint(*RETRY_MS)
    await send({"type": "http.response.body", "body": last})


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
        first = await _loop.here().within(wait_s, reader.__anext__)
        return [first, *reader.take_ready()]
    except TimeoutError:
        return []
    except StopAsyncIteration:
        if reader.reason == "removed":
            raise StreamNotFound(StreamNotFound.message) from None
        return []
    finally:
        reader.close()


async def follow(
    hub: Hub,
    asked: Follow,
    scope: Scope,
    receive: Receive,
    send: Send,
    extra: RawHeaders,
    poll_s: float,
) -> Optional[Answer]:
    """Answers with a stream: None. Or what is to be answered in its place."""
    is_head = scope["method"] == "HEAD"
    if asked.poll:
        return await poll_answer(hub, asked, 0.0 if is_head else poll_s)
    hub.watch_server()
    reader = hub.subscribe(asked.stream_id, asked.cursor, raw=True)
    try:
        await reader.open()
    except StreamEnded:
        return Answer(204)
    if not is_head:
        await send_stream(scope, receive, send, reader, extra)
        return None
    reader.close()
    await send_head(scope, send, asked.stream_id, extra)
    return None


async def send_head(scope: Scope, send: Send, id: str, extra: RawHeaders) -> None:
    headers = merge(stream_headers(scope, id), extra)
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


class StreamResponse(BaseResponse):
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
        super().__init__((), headers=dict(headers))
        self._hub = hub
        self._scope: Optional[Scope] = getattr(request, "scope", None)
        self._id = check_id(stream_id)
        self._producer = producer
        self._user = user_id
        self._fields = fields
        if producer is not None:
            check_producer(producer)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = request_of(self._scope or scope)
        api = self._hub._api
        answer: Optional[Answer] = None
        try:
            if self._producer is not None:
                check_cursor(request.cursor)
            if await self._ensure(is_head=scope["method"] == "HEAD"):
                asked = Follow(self._id, request.cursor, request.poll)
                answer = await follow(
                    self._hub, asked, scope, receive, send, self.raw_headers, POLL_S
                )
            else:
                await send_head(scope, send, self._id, self.raw_headers)
        except SSEError as error:
            answer = api.refuse(error)
        if answer is not None:
            await send_answer(scope, send, answer, self.raw_headers)
        if self.background is not None:
            await self.background()

    async def _ensure(self, is_head: bool) -> bool:
        """Whether the stream exists; it is the user's then. A HEAD produces nothing,
        and is told what a GET would be."""
        hub = self._hub
        if self._producer is None or is_head:
            try:
                stream = await hub.open(self._id)
            except StreamNotFound:
                if self._producer is None:
                    raise
                return False
        else:
            stream = await hub.create_or_open(
                self._id, self._producer, user_id=self._user, **self._fields
            )
        if self._user and stream.sync.info().user_id not in ("", self._user):
            raise StreamNotFound(StreamNotFound.message)
        return True


class AnswerResponse:
    """A whole answer as a response."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send_answer(scope, send, self._answer, [])


def add_error_handler(app: Any, handler: Callable[..., Any]) -> None:
    """To an application of Starlette's that has none for it. When a lifespan begins,
    the layer that calls handlers has been made, and has a list of its own."""
    known = getattr(app, "exception_handlers", None)
    if not isinstance(known, dict) or SSEError in known:
        return
    app.add_exception_handler(SSEError, handler)
    layer = getattr(app, "middleware_stack", None)
    while layer is not None:
        if hasattr(layer, "add_exception_handler"):
            layer.add_exception_handler(SSEError, handler)
        layer = getattr(layer, "app", None)


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
        if not isinstance(hub, Hub):
            raise TypeError("the hub must be a libsse.Hub")
        check_hook(authorize)
        self.hub: Hub = hub
        self.authorize: Optional[Authorize] = authorize
        self.poll_timeout_s: float = seconds_of("poll_timeout_s", poll_timeout_s)
        self.api: Api = Api(hub.sync, prefix, origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(self.hub, receive, send)
            return
        if scope["type"] == "websocket":
            await send({"type": "websocket.close"})  # which servers answer with 403
            return
        request = request_of(scope)
        extra = raw_headers(self.api.cors(request))
        self.api.closing = self.hub.closing
        route = self.api.route(request.method, request.path, request.root)
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
                answered = await follow(
                    self.hub, answer, scope, receive, send, extra, self.poll_timeout_s
                )
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
        return allows(word, request)


class ClientGone(Exception):
    pass


async def read_body(receive: Receive) -> bytes:
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
