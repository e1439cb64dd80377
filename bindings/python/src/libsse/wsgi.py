"""Streams for WSGI: Flask, Django, or any other. Each reader holds a thread of the
server for as long as it reads: have enough of them."""

from __future__ import annotations

import atexit
import contextlib
import contextvars
import inspect
import json
import logging
import random
import sys
import threading
import time
from http import HTTPStatus
from types import FrameType
from typing import (
    TYPE_CHECKING,
    Any,
    Callable,
    Dict,
    Iterable,
    Iterator,
    List,
    Optional,
    Sequence,
    Set,
    Tuple,
    Union,
    cast,
)

from . import sync
from ._api import (
    BODY_MAX,
    Answer,
    Api,
    Follow,
    Refused,
    Request,
    allows,
    check_hook,
    event_json,
    json_answer,
)
from ._events import Event, check_cursor, check_id
from ._options import of_stream, seconds_of
from ._producer import GONE, check_producer, failures, wants_stream
from .errors import (
    Forbidden,
    NotUTF8,
    SSEError,
    StreamEnded,
    StreamExists,
    StreamNotFound,
    TooLarge,
)

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ._options import StreamOptions

__all__ = ["Application", "respond"]

Environ = Dict[str, Any]
StartResponse = Callable[..., Any]
Authorize = Callable[[Environ, str, str], Union[bool, str, None]]
WSGIApp = Callable[[Environ, StartResponse], Iterable[bytes]]

log: logging.Logger = logging.getLogger("libsse")

POLL_S = 25.0
LOOK_S = 0.5  # between two looks whether the server ends, where nothing comes
SHUTDOWN_S = 5.0  # what readers and producers have then
RETRY_MS = (1000, 3000)  # so that not all come back at once

Ends = Callable[[], bool]


def server_ends(frame: Optional[FrameType]) -> Ends:
    """What tells whether the server that has called wants to end. A worker of
    Gunicorn knows it; WSGI itself has no word for it."""
    while frame is not None:
        owner: Any = frame.f_locals.get("self")
        kind = type(owner)
        if hasattr(kind, "init_process") and hasattr(kind, "handle_exit"):
            return lambda: not owner.alive
        frame = frame.f_back
    return lambda: False


def request_of(environ: Environ) -> Request:
    headers = {
        name[5:].replace("_", "-").lower(): value
        for name, value in environ.items()
        if name.startswith("HTTP_")
    }
    if environ.get("CONTENT_TYPE"):
        headers["content-type"] = environ["CONTENT_TYPE"]
    root = _text(environ.get("SCRIPT_NAME", ""))
    path = root + _text(environ.get("PATH_INFO", ""))
    query = environ.get("QUERY_STRING", "").encode("latin-1", "replace")
    return Request(environ["REQUEST_METHOD"], path, query, headers, b"", root)


def _text(raw: str) -> str:
    return raw.encode("latin-1", "replace").decode("utf-8", "replace")


def send_answer(
    answer: Answer,
    start: StartResponse,
    method: str,
    extra: Sequence[Tuple[str, str]] = (),
) -> List[bytes]:
    headers = [*answer.headers, *extra]
    if answer.status != 204:
        headers.append(("Content-Type", answer.content_type))
        headers.append(("Content-Length", str(len(answer.body))))
    phrase = HTTPStatus(answer.status).phrase
    start(f"{answer.status} {phrase}", headers)
    return [] if method == "HEAD" else [answer.body]


class _Body:
    """The pieces of a stream; the server calls close() when the reader is gone. When
    the server wants to end, this ends too, and is a complete response."""

    def __init__(self, hub: sync.Hub, reader: sync.Subscription[bytes], ends: Ends):
        self._reader = reader
        self._ends: Ends = lambda: hub.core.closed or ends()
        self._deadline: Optional[float] = None
        self._closed = False

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        while True:
            if self._deadline is None and self._ends():
                self._deadline = time.monotonic() + SHUTDOWN_S
            try:
                piece = self._reader.next(LOOK_S)
            except TimeoutError:
                if self._deadline is not None:
                    return self._last()
                continue
            if piece is None:
                if self._reader.reason == "closed" and not self._closed:
                    return self._last()  # by the hub
                raise StopIteration
            if self._deadline is not None and time.monotonic() > self._deadline:
                return piece + self._last()
            return piece

    def _last(self) -> bytes:
        self.close()
        return b"retry: %d\n\n" % random.randint(*RETRY_MS)

    def close(self) -> None:
        self._closed = True
        self._reader.close()


def send_head(id: str, start: StartResponse, extra: Sequence[Tuple[str, str]]) -> None:
    headers = [
        ("Content-Type", "text/event-stream"),
        ("Cache-Control", "no-cache, no-transform"),
        ("X-Accel-Buffering", "no"),
        ("X-Stream-Id", id),
        *extra,
    ]
    start("200 OK", headers)


def send_stream(
    hub: sync.Hub,
    reader: sync.Subscription[bytes],
    start: StartResponse,
    method: str,
    extra: Sequence[Tuple[str, str]],
    ends: Ends,
) -> Iterable[bytes]:
    send_head(reader.stream_id, start, extra)
    if method == "HEAD":
        reader.close()
        return []
    return _Body(hub, reader, ends)


class _Producer:
    """A producer in a thread of its own, which does not keep the process alive."""

    running: Set[_Producer] = set()

    def __init__(
        self,
        hub: sync.Hub,
        stream: sync.Stream,
        producer: Callable[..., Any],
        ends: Ends,
    ) -> None:
        self._hub = hub
        self._stream = stream
        self._producer = producer
        self._ends = ends
        self.stopping: bool = False
        self.thread: threading.Thread = threading.Thread(
            target=contextvars.copy_context().run,
            args=(self._run,),
            name=f"libsse {stream.id}",
            daemon=True,
        )
        self.running.add(self)
        self.thread.start()

    def _run(self) -> None:
        stream = self._stream
        try:
            if self._work():
                stream.complete()
            else:
                stream.cancel({"reason": "shutdown"})
        except GONE:
            log.debug("the stream %s has ended before its producer", stream.id)
        except BaseException as error:
            self._fail(error)
        finally:
            self.running.discard(self)

    def _work(self) -> bool:
        """Whether it came to its end."""
        wants = wants_stream(self._producer)
        items = _checked(self._producer(self._stream) if wants else self._producer())
        try:
            for item in items:
                if self.stopping or self._ends():
                    return False
                self._stream.send(item)
        finally:
            close = getattr(items, "close", None)
            if close is not None:
                close()
        return True

    def _fail(self, error: BaseException) -> None:
        stream = self._stream
        log.error("the producer of the stream %s failed", stream.id, exc_info=error)
        with contextlib.suppress(SSEError):
            for told in failures(error, self._hub.core.expose_errors):
                with contextlib.suppress(NotUTF8, TooLarge):
                    stream.fail(told)
                    return


def _checked(made: Any) -> Iterable[Any]:
    if made is None:  # it was given the stream, and has sent all
        return ()
    if hasattr(made, "__next__") or isinstance(made, (list, tuple)):
        items: Iterable[Any] = made
        return items
    if inspect.iscoroutine(made):
        made.close()
    told = f"a producer gives a generator or a list here, not {type(made).__name__}"
    raise TypeError(told)


@atexit.register
def _stop_producers() -> None:
    """Their streams end, as far as they come to a next item in time."""
    producers = list(_Producer.running)
    for producer in producers:
        producer.stopping = True
    deadline = time.monotonic() + SHUTDOWN_S
    for producer in producers:
        producer.thread.join(max(0.0, deadline - time.monotonic()))


def _check_hub(hub: object) -> None:
    if not isinstance(hub, sync.Hub):
        raise TypeError("the hub must be a libsse.sync.Hub, as hub.sync is")


def respond(
    hub: sync.Hub,
    stream_id: str,
    producer: Optional[Callable[..., Any]] = None,
    *,
    user_id: str = "",
    stream_type: str = "",
    metadata: Any = None,
    headers: Optional[Dict[str, str]] = None,
    **options: Unpack[StreamOptions],
) -> WSGIApp:
    """A WSGI application that answers with a stream, from the cursor that the
    request carries. With a producer, the stream is created if there is none: a
    function that gives a generator or a list, which is run in a thread of its own,
    where a stop and the server's end reach it between two items; or one that is
    given the stream, and sends by itself.

    A Flask view returns `Response.from_app(respond(...), request.environ)`; for
    Django there is libsse.django."""
    _check_hub(hub)
    check_id(stream_id)
    of_stream(cast(Dict[str, Any], options))
    if producer is not None:
        check_producer(producer)

    def ensure(is_head: bool, ends: Ends) -> bool:
        """Whether it exists. A HEAD produces nothing."""
        try:
            stream = hub.open(stream_id)
        except StreamNotFound:
            if producer is None:
                raise
            if is_head:
                return False
            try:
                stream = hub.create(
                    stream_id,
                    user_id=user_id,
                    stream_type=stream_type,
                    metadata=metadata,
                    **options,
                )
                _Producer(hub, stream, producer, ends)
            except StreamExists:
                stream = hub.open(stream_id)
        if user_id and stream.info().user_id not in ("", user_id):
            raise StreamNotFound(StreamNotFound.message)
        return True

    def app(environ: Environ, start: StartResponse) -> Iterable[bytes]:
        request = request_of(environ)
        ends = server_ends(sys._getframe(1))
        extra = list((headers or {}).items())
        try:
            if producer is not None:
                check_cursor(request.cursor)
            if not ensure(request.method == "HEAD", ends):
                send_head(stream_id, start, extra)
                return []
            follow = Follow(stream_id, request.cursor, request.poll)
            answer = _follow(hub, follow, request, start, extra, POLL_S, ends)
        except SSEError as error:
            answer = Api(hub).refuse(error)
        if isinstance(answer, Answer):
            return send_answer(answer, start, request.method, extra)
        return answer

    return app


def _follow(
    hub: sync.Hub,
    follow: Follow,
    request: Request,
    start: StartResponse,
    extra: Sequence[Tuple[str, str]],
    wait_s: float,
    ends: Ends,
) -> Union[Answer, Iterable[bytes]]:
    if follow.poll:
        return _poll(hub, follow, 0 if request.method == "HEAD" else wait_s, ends)
    reader = hub.subscribe(follow.stream_id, follow.cursor, raw=True)
    if reader.reason is not None:
        return Answer(204)
    return send_stream(hub, reader, start, request.method, extra, ends)


def _poll(hub: sync.Hub, follow: Follow, wait_s: float, ends: Ends) -> Answer:
    id = follow.stream_id
    try:
        events: List[Event] = hub.look(id, follow.cursor)
        if not events and wait_s > 0:
            reader = hub.subscribe(id, follow.cursor, heartbeat_ms=None, retry_ms=None)
            events = _first(reader, wait_s, ends)
    except StreamEnded:
        return Answer(204)
    named = [event.id for event in events if event.id]
    told = {
        "events": [event_json(event) for event in events],
        "lastEventId": named[-1] if named else hub.recover(id, "$").last_event_id,
        "state": hub.info(id).state,
    }
    return json_answer(200, json.dumps(told))


def _first(reader: sync.Subscription[Event], wait_s: float, ends: Ends) -> List[Event]:
    """The first event; nothing when the time is over."""
    deadline = time.monotonic() + wait_s
    try:
        while True:
            rest = deadline - time.monotonic()
            if rest <= 0 or ends():
                return []
            try:
                first = reader.next(min(rest, LOOK_S))
                return [first] if first is not None else []
            except TimeoutError:
                pass
    finally:
        reader.close()


def read_body(environ: Environ) -> bytes:
    """Refused where it is no body. What is too large is read no further."""
    told = environ.get("CONTENT_LENGTH") or ""
    source = environ["wsgi.input"]
    if told == "":
        chunked = environ.get("wsgi.input_terminated") or environ.get(
            "HTTP_TRANSFER_ENCODING"
        )
        body: bytes = source.read(BODY_MAX + 1) if chunked else b""
        return body
    if not (told.isascii() and told.isdigit()):
        raise Refused(400, "bad_request", "Content-Length is no number.")
    length = min(int(told), BODY_MAX + 1)
    body = source.read(length)
    if len(body) < length:
        raise Refused(400, "bad_request", "The body is shorter than its length.")
    return body


class Application:
    """The whole HTTP interface of docs/http.md as a WSGI application. The authorize
    hook gets (environ, verb, stream_id); see libsse.asgi.Application."""

    def __init__(
        self,
        hub: sync.Hub,
        *,
        prefix: str = "/api/stream",
        authorize: Optional[Authorize] = None,
        origins: Sequence[str] = (),
        poll_timeout_s: float = POLL_S,
    ) -> None:
        _check_hub(hub)
        check_hook(authorize)
        self.hub: sync.Hub = hub
        self.api: Api = Api(hub, prefix, origins)
        self.authorize: Optional[Authorize] = authorize
        self.poll_timeout_s: float = seconds_of("poll_timeout_s", poll_timeout_s)

    def __call__(self, environ: Environ, start: StartResponse) -> Iterable[bytes]:
        request = request_of(environ)
        extra = self.api.cors(request)
        answer: Union[Answer, Follow, Iterable[bytes]]
        answer = self._answer(environ, request)
        if isinstance(answer, Follow):
            try:
                ends = server_ends(sys._getframe(1))
                wait_s = self.poll_timeout_s
                answer = _follow(self.hub, answer, request, start, extra, wait_s, ends)
            except SSEError as error:
                answer = self.api.refuse(error)
        if isinstance(answer, Answer):
            return send_answer(answer, start, request.method, extra)
        return answer

    def _answer(self, environ: Environ, request: Request) -> Union[Answer, Follow]:
        call = self.api.route(request.method, request.path, request.root)
        if isinstance(call, Answer):
            return call
        if self.authorize is not None and call.verb != "health":
            verb = "append" if call.verb in ("complete", "fail") else call.verb
            try:
                word = self.authorize(environ, verb, call.stream_id)
            except SSEError as error:
                return self.api.refuse(error)
            if not allows(word, request):
                return self.api.refuse(Forbidden())
        if request.method == "POST":
            try:
                request.body = read_body(environ)
            except Refused as error:
                return self.api.refuse(error)
        return self.api.answer(call, request)
