"""Streams for WSGI: Flask, Django, or any other. Each reader holds a thread of the
server for as long as it reads: have enough of them."""

from __future__ import annotations

import logging
import threading
from http import HTTPStatus
from typing import (
    Any,
    Callable,
    Dict,
    Iterable,
    Iterator,
    List,
    Optional,
    Sequence,
    Tuple,
    Union,
)

from . import sync
from ._api import (
    BODY_MAX,
    Answer,
    Api,
    Follow,
    Refused,
    Request,
    event_json,
    json_answer,
)
from ._events import Event
from .errors import Forbidden, SSEError, StreamEnded, StreamExists, StreamNotFound

__all__ = ["Application", "respond"]

Environ = Dict[str, Any]
StartResponse = Callable[..., Any]
WSGIApp = Callable[[Environ, StartResponse], Iterable[bytes]]

log: logging.Logger = logging.getLogger("libsse")

POLL_S = 25.0


def request_of(environ: Environ) -> Request:
    headers = {
        name[5:].replace("_", "-").lower(): value
        for name, value in environ.items()
        if name.startswith("HTTP_")
    }
    if environ.get("CONTENT_TYPE"):
        headers["content-type"] = environ["CONTENT_TYPE"]
    raw_path = environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")
    path = raw_path.encode("latin-1").decode("utf-8", "replace")
    query = environ.get("QUERY_STRING", "").encode("latin-1")
    return Request(environ["REQUEST_METHOD"], path, query, headers, b"")


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
    """The pieces of a stream; the server calls close() when the reader is gone."""

    def __init__(self, reader: sync.Subscription[bytes]) -> None:
        self._reader = reader

    def __iter__(self) -> Iterator[bytes]:
        return self._reader

    def close(self) -> None:
        self._reader.close()


def send_stream(
    reader: sync.Subscription[bytes],
    start: StartResponse,
    method: str,
    extra: Sequence[Tuple[str, str]] = (),
) -> Iterable[bytes]:
    headers = [
        ("Content-Type", "text/event-stream"),
        ("Cache-Control", "no-cache, no-transform"),
        ("X-Accel-Buffering", "no"),
        ("X-Stream-Id", reader.stream_id),
        *extra,
    ]
    start("200 OK", headers)
    if method == "HEAD":
        reader.close()
        return []
    return _Body(reader)


def produce(hub: sync.Hub, stream: sync.Stream, producer: Callable[..., Any]) -> None:
    """Runs a producer in a thread: a function of no argument that gives an iterable,
    or one that is given the stream. A stop reaches it between two items."""
    from ._producer import GONE, wants_stream

    def work() -> None:
        made: Any = None
        try:
            made = producer(stream) if wants_stream(producer) else producer()
            for item in made if made is not None else ():
                stream.send(item)
            stream.complete()
        except GONE:
            log.debug("the stream %s has ended before its producer", stream.id)
        except Exception:
            log.exception("the producer of the stream %s failed", stream.id)
            try:
                told = {"error": "producer_failed", "message": "The producer failed."}
                stream.fail(told)
            except SSEError:
                pass
        finally:
            close = getattr(made, "close", None)
            if close is not None:
                close()

    threading.Thread(target=work, name=f"libsse {stream.id}", daemon=True).start()


def respond(
    hub: sync.Hub,
    stream_id: str,
    producer: Optional[Callable[..., Any]] = None,
    *,
    user_id: str = "",
    stream_type: str = "",
    metadata: Any = None,
) -> WSGIApp:
    """A WSGI application that answers with a stream, from the cursor that the
    request carries. In Flask, `return respond(...)` will not do: a view gives
    `Response.from_app(respond(...), request.environ)`."""

    def ensure() -> None:
        try:
            stream = hub.open(stream_id)
        except StreamNotFound:
            if producer is None:
                raise
            try:
                stream = hub.create(
                    stream_id,
                    user_id=user_id,
                    stream_type=stream_type,
                    metadata=metadata,
                )
                produce(hub, stream, producer)
            except StreamExists:
                stream = hub.open(stream_id)
        if user_id and stream.info().user_id not in ("", user_id):
            raise StreamNotFound(StreamNotFound.message)

    def app(environ: Environ, start: StartResponse) -> Iterable[bytes]:
        request = request_of(environ)
        try:
            ensure()
            follow = Follow(stream_id, request.cursor, request.poll)
            answer = _follow(hub, follow, request, start, (), POLL_S)
        except SSEError as error:
            answer = Api(hub).refuse(error)
        if isinstance(answer, Answer):
            return send_answer(answer, start, request.method)
        return answer

    return app


def _follow(
    hub: sync.Hub,
    follow: Follow,
    request: Request,
    start: StartResponse,
    extra: Sequence[Tuple[str, str]],
    wait_s: float,
) -> Union[Answer, Iterable[bytes]]:
    if follow.poll:
        return _poll(hub, follow, 0 if request.method == "HEAD" else wait_s)
    reader = hub.subscribe(follow.stream_id, follow.cursor, raw=True)
    if reader.reason is not None:
        return Answer(204)
    return send_stream(reader, start, request.method, extra)


def _poll(hub: sync.Hub, follow: Follow, wait_s: float) -> Answer:
    import json

    id = follow.stream_id
    try:
        events: List[Event] = hub.look(id, follow.cursor)
        if not events and wait_s > 0:
            reader = hub.subscribe(id, follow.cursor, heartbeat_ms=None, retry_ms=None)
            try:
                first = reader.next(wait_s)
                events = [first] if first is not None else []
            except TimeoutError:
                pass
            reader.close()
    except StreamEnded:
        return Answer(204)
    named = [event.id for event in events if event.id]
    told = {
        "events": [event_json(event) for event in events],
        "lastEventId": named[-1] if named else hub.recover(id, "$").last_event_id,
        "state": hub.info(id).state,
    }
    return json_answer(200, json.dumps(told))


def read_body(environ: Environ) -> bytes:
    """EOFError when the caller left within it."""
    if not environ.get("CONTENT_LENGTH"):
        chunked = environ.get("wsgi.input_terminated") or environ.get(
            "HTTP_TRANSFER_ENCODING"
        )
        body: bytes = environ["wsgi.input"].read() if chunked else b""
        return body
    length = min(int(environ["CONTENT_LENGTH"]), BODY_MAX + 1)
    body = environ["wsgi.input"].read(length)
    if len(body) < length:
        raise EOFError
    return body


class Application:
    """The whole HTTP interface of docs/http.md as a WSGI application. The authorize
    hook gets (environ, verb, stream_id); see libsse.asgi.Application."""

    def __init__(
        self,
        hub: sync.Hub,
        *,
        prefix: str = "/api/stream",
        authorize: Optional[Callable[[Environ, str, str], Any]] = None,
        origins: Sequence[str] = (),
        poll_timeout_s: float = POLL_S,
    ) -> None:
        self.hub: sync.Hub = hub
        self.api: Api = Api(hub, prefix, origins)
        self.authorize: Optional[Callable[[Environ, str, str], Any]] = authorize
        self.poll_timeout_s: float = poll_timeout_s

    def __call__(self, environ: Environ, start: StartResponse) -> Iterable[bytes]:
        request = request_of(environ)
        extra = self.api.cors(request)
        answer: Union[Answer, Follow, Iterable[bytes]]
        answer = self._answer(environ, request)
        if isinstance(answer, Follow):
            try:
                answer = _follow(
                    self.hub, answer, request, start, extra, self.poll_timeout_s
                )
            except SSEError as error:
                answer = self.api.refuse(error)
        if isinstance(answer, Answer):
            return send_answer(answer, start, request.method, extra)
        return answer

    def _answer(self, environ: Environ, request: Request) -> Union[Answer, Follow]:
        call = self.api.route(request.method, request.path)
        if isinstance(call, Answer):
            return call
        if self.authorize is not None and call.verb != "health":
            verb = "append" if call.verb in ("complete", "fail") else call.verb
            try:
                word = self.authorize(environ, verb, call.stream_id)
            except SSEError as error:
                return self.api.refuse(error)
            if isinstance(word, str):
                request.user = word
            elif word is not None and not word:
                return self.api.refuse(Forbidden())
        if request.method == "POST":
            try:
                request.body = read_body(environ)
            except EOFError:
                told = "The body is shorter than its length."
                return self.api.refuse(Refused(400, "bad_request", told))
        return self.api.answer(call, request)
