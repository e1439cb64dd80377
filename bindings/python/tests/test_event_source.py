"""EventSourceResponse: what sse-starlette's does, and that its content is closed
whatever happens."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
import signal
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import hypercorn.trio
import pytest
import sse_starlette
import sse_starlette.sse as theirs
import trio
from fastapi import FastAPI
from helpers import WAIT_S, serving
from hypercorn.config import Config
from libsse import asgi
from libsse.asgi import EventSourceResponse, ServerSentEvent
from pydantic import BaseModel
from starlette.middleware.base import BaseHTTPMiddleware
from suite.wire import Connection, fetch
from test_servers import COMMANDS, DEADLINE_S, Server

from libsse import Event

try:
    from fastapi.sse import ServerSentEvent as FastAPIEvent
except ImportError:  # before version 0.135
    FastAPIEvent = None


@contextlib.contextmanager
def serving_trio(app: Any) -> Iterator[str]:
    """The application under Hypercorn on Trio, in a thread; gives its URL."""
    config = Config()
    config.bind = ["127.0.0.1:0"]
    config.graceful_timeout = 1
    config.loglevel = "WARNING"
    started = threading.Event()
    told: list[Any] = []

    async def main() -> None:
        ends = trio.Event()
        told.extend((trio.lowlevel.current_trio_token(), ends))
        async with trio.open_nursery() as nursery:
            serve = functools.partial(
                hypercorn.trio.serve, app, config, shutdown_trigger=ends.wait
            )
            told.extend(await nursery.start(serve))
            started.set()

    thread = threading.Thread(target=trio.run, args=(main,), daemon=True)
    thread.start()
    assert started.wait(WAIT_S)
    try:
        yield told[2]
    finally:
        told[0].run_sync_soon(told[1].set)
        thread.join(WAIT_S)
        assert not thread.is_alive(), "the server does not end"


class Passing(BaseHTTPMiddleware):
    async def dispatch(self, request: Any, call_next: Any) -> Any:
        return await call_next(request)


def application(respond: Callable[[], Any], middleware: bool = False) -> FastAPI:
    app = FastAPI()
    if middleware:
        app.add_middleware(Passing)

    @app.get("/")
    async def route() -> Any:
        return respond()

    return app


def body_of(respond: Callable[[], Any], serve: Any = serving) -> bytes:
    with serve(application(respond)) as url:
        response = fetch(url, "GET", "/")
        assert response.status == 200
        return response.body


servers = pytest.mark.parametrize("serve", [serving, serving_trio])


# ---- What stands on the wire ----


class Model(BaseModel):
    answer: int


ITEMS: list[tuple[Any, bytes]] = [
    ("text\nof two lines", b"data: text\r\ndata: of two lines\r\n\r\n"),
    ("", b"data: \r\n\r\n"),
    ({"data": "x", "event": "t", "id": 7, "retry": 5},
     b"id: 7\r\nevent: t\r\ndata: x\r\nretry: 5\r\n\r\n"),
    ({"data": "x", "comment": "a\rb"}, b": a\r\n: b\r\ndata: x\r\n\r\n"),
    ({"comment": "hello"}, b": hello\r\n\r\n"),
    ({"data": None, "retry": 5}, b"retry: 5\r\n\r\n"),
    ({"event": "t"}, b"event: t\r\n\r\n"),
    ({"data": {"a": [1]}}, b'data: {"a":[1]}\r\n\r\n'),
    ({"event": "a\nid: 1", "id": "b\r\ndata: 2", "data": "x"},
     b"id: bdata: 2\r\nevent: aid: 1\r\ndata: x\r\n\r\n"),
    ({"answer": 42}, b'data: {"answer":42}\r\n\r\n'),
    ({}, b"data: {}\r\n\r\n"),
    (42, b"data: 42\r\n\r\n"),
    (Model(answer=42), b'data: {"answer":42}\r\n\r\n'),
    (Event([1], "list", "8"), b"id: 8\r\nevent: list\r\ndata: [1]\r\n\r\n"),
    (b"data: raw\n\n", b"data: raw\n\n"),
    (memoryview(b": raw\n\n"), b": raw\n\n"),
    (ServerSentEvent("x", id="1", sep="\n"), b"id: 1\ndata: x\n\n"),
    (asgi.JSONServerSentEvent("x"), b'data: "x"\r\n\r\n'),
    (sse_starlette.ServerSentEvent("x", id="1", sep="\n"), b"id: 1\ndata: x\n\n"),
]  # fmt: skip
if FastAPIEvent is not None:
    ITEMS += [
        (FastAPIEvent(data="x", event="t"), b'event: t\r\ndata: "x"\r\n\r\n'),
        (FastAPIEvent(data=Model(answer=1)), b'data: {"answer":1}\r\n\r\n'),
        (FastAPIEvent(raw_data="x", id="1"), b"id: 1\r\ndata: x\r\n\r\n"),
    ]


@servers
def test_items(serve: Any) -> None:
    async def items() -> AsyncIterator[Any]:
        for item, _ in ITEMS:
            yield item

    body = body_of(lambda: EventSourceResponse(items()), serve)
    assert body == b"".join(text for _, text in ITEMS)


@pytest.mark.parametrize(
    "fields",
    [
        {"data": "a\rb\r\nc\nd"},
        {"data": "x", "event": "t", "id": "7", "retry": 5, "comment": "c\nd"},
        {"event": "a\nb", "id": "a\r\nb"},
        {"data": 5},
        {"retry": 1},
        {},
    ],
)
@pytest.mark.parametrize("sep", [None, "\n", "\r", "\r\n"])
def test_server_sent_events_are_as_theirs(fields: Any, sep: Any) -> None:
    ours = ServerSentEvent(**fields, sep=sep).encode()
    assert ours == sse_starlette.ServerSentEvent(**fields, sep=sep).encode()


def test_it_takes_what_theirs_takes() -> None:
    def parameters(of: Any) -> list[str]:
        return list(inspect.signature(of).parameters)

    here, there = EventSourceResponse, theirs.EventSourceResponse
    assert parameters(here) == parameters(there)
    assert here.DEFAULT_PING_INTERVAL == there.DEFAULT_PING_INTERVAL
    assert here.DEFAULT_SEPARATOR == there.DEFAULT_SEPARATOR


@pytest.mark.parametrize("package", [asgi, theirs])
def test_a_program_moves_over(package: Any) -> None:
    """One program, which imports it from here or from there."""
    done: list[str] = []

    async def numbers() -> AsyncIterator[Any]:
        yield {"data": "one", "event": "number", "id": "1"}
        yield package.ServerSentEvent("two", event="number", id="2", sep="\n")
        yield "three"

    def words() -> Iterator[Any]:
        yield "four"
        yield {"comment": "five"}

    async def background() -> None:
        done.append("background")

    app = FastAPI()

    @app.api_route("/async", methods=["GET", "HEAD"])
    async def first() -> Any:
        return package.EventSourceResponse(
            numbers(), 201, {"X-Own": "yes", "Cache-Control": "public, max-age=29"},
            background=background, ping=600, sep="\n", send_timeout=20,
        )  # fmt: skip

    @app.get("/sync")
    def second() -> Any:
        return package.EventSourceResponse(words(), ping=0)

    with serving(app) as url:
        response = fetch(url, "GET", "/async")
        assert response.status == 201
        assert response.get("x-own") == "yes"
        assert response.get("cache-control") == "public, max-age=29"
        assert response.get("x-accel-buffering") == "no"
        kind = response.get("content-type") or ""
        assert kind.partition(";")[0] == "text/event-stream"
        assert response.body == (
            b"id: 1\nevent: number\ndata: one\n\n"
            b"id: 2\nevent: number\ndata: two\n\ndata: three\n\n"
        )
        assert fetch(url, "GET", "/sync").body == b"data: four\r\n\r\n: five\r\n\r\n"
        head = fetch(url, "HEAD", "/async")
        assert (head.status, head.body) == (201, b"")
    assert done == ["background", "background"]


@pytest.mark.parametrize(
    "wrong, error",
    [
        ({"sep": "x"}, ValueError),
        ({"ping": -1}, ValueError),
        ({"ping": "15"}, TypeError),
        ({"ping": float("nan")}, ValueError),
        ({"send_timeout": "5"}, TypeError),
        ({"shutdown_grace_period": -1}, ValueError),
        ({"cleanup_timeout": -1}, ValueError),
        ({"content": 5}, TypeError),
        ({"content": print}, TypeError),
    ],
)
def test_what_is_wrong_is_said_at_once(wrong: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        EventSourceResponse(**{"content": (), **wrong})


@servers
def test_pings(serve: Any) -> None:
    """Between items that take their time, in a generator that holds its thread."""
    go_on = threading.Event()

    def items() -> Iterator[str]:
        yield "a"
        assert go_on.wait(WAIT_S)
        yield "b"

    def respond(**options: Any) -> Any:
        return lambda: EventSourceResponse(items(), sep="\n", **options)

    for own, ping in (({}, b": ping\n\n"), (OWN_PING, b"event: ping\n\n")):
        go_on.clear()
        body = b""
        with serve(application(respond(ping=0.02, **own))) as url:
            with Connection(url) as connection:
                connection.request("GET", "/")
                for piece in connection.read_body(connection.read_head()):
                    body += piece
                    if body.partition(b"data: a\n\n")[2].count(ping) >= 2:
                        go_on.set()
        assert body.replace(ping, b"") == b"data: a\n\ndata: b\n\n"
    for never in (0, None):
        assert body_of(respond(ping=never), serve) == b"data: a\n\ndata: b\n\n"


OWN_PING = {"ping_message_factory": lambda: {"event": "ping"}}


@servers
def test_time_limits_within_are_nobodys_end(serve: Any) -> None:
    """They cancel what they are around, and it goes on; one is around two items."""

    async def items() -> AsyncIterator[str]:
        with anyio.move_on_after(0.01):
            await anyio.sleep(600)
        yield "a"
        with anyio.move_on_after(0.01):
            yield "b"
            await anyio.sleep(600)
        yield "c"

    body = body_of(lambda: EventSourceResponse(items(), sep="\n"), serve)
    assert body == b"data: a\n\ndata: b\n\ndata: c\n\n"


def test_what_is_pushed() -> None:
    """A memory stream, which another coroutine fills, as MCP's SDK does it."""

    def respond() -> Any:
        sender, receiver = anyio.create_memory_object_stream[str](0)

        async def push() -> None:
            async with sender:
                for word in ("a", "b"):
                    await sender.send(word)

        return EventSourceResponse(receiver, data_sender_callable=push, sep="\n")

    assert body_of(respond) == b"data: a\n\ndata: b\n\n"


def test_a_websocket_is_denied() -> None:
    sent: list[Any] = []

    async def main() -> None:
        async def receive() -> Any:
            await asyncio.Event().wait()

        async def send(message: Any) -> None:
            sent.append(message["type"])

        scope = {"type": "websocket", "http_version": "1.1"}
        await EventSourceResponse(["a"], 403)(scope, receive, send)

    asyncio.run(main())
    assert sent[0] == "websocket.http.response.start"
    assert set(sent[1:]) == {"websocket.http.response.body"}


# ---- How it ends ----


class Content:
    """Items whose `finally` waits: it shows that nothing cuts it short."""

    def __init__(self, wait_s: float = 0.01) -> None:
        self.began = threading.Event()
        self.ended = threading.Event()
        self.wait_s = wait_s

    async def items(self, item: Any = "a", endless: bool = False) -> AsyncIterator[Any]:
        try:
            yield item
            while endless:
                yield item
            with anyio.move_on_after(0.01):  # which is nobody's end but its own
                await anyio.sleep(600)
            self.began.set()
            with anyio.move_on_after(600):  # a scope across steps
                yield "b"
                await anyio.sleep(600)
        finally:
            await anyio.sleep(self.wait_s)
            self.ended.set()


@contextlib.contextmanager
def read_one(url: str) -> Iterator[Connection]:
    with Connection(url) as connection:
        connection.request("GET", "/")
        next(connection.read_body(connection.read_head()))
        yield connection


@servers
@pytest.mark.parametrize("middleware", [False, True])
def test_the_reader_goes_away(middleware: bool, serve: Any) -> None:
    content = Content()
    told: list[Any] = []

    async def closed(message: Any) -> None:
        told.append(message["type"])

    def respond() -> Any:
        items = content.items()
        return EventSourceResponse(items, client_close_handler_callable=closed)

    with serve(application(respond, middleware)) as url:
        with read_one(url):
            assert content.began.wait(WAIT_S)
        assert content.ended.wait(WAIT_S)
    assert told == ["http.disconnect"]


@servers
def test_the_reader_of_a_generator_in_a_thread_goes_away(serve: Any) -> None:
    ended = threading.Event()

    def items() -> Iterator[str]:
        try:
            while True:
                yield "a"
                time.sleep(0.01)
        finally:
            ended.set()

    with serve(application(lambda: EventSourceResponse(items()))) as url:
        with read_one(url):
            pass
        assert ended.wait(WAIT_S)


@pytest.mark.parametrize("middleware", [False, True])
def test_the_server_ends(middleware: bool) -> None:
    """The response is complete, though its generator would never end."""
    content = Content()

    def respond() -> Any:
        return EventSourceResponse(content.items())

    with serving(application(respond, middleware)) as url:
        connection = Connection(url)
        connection.request("GET", "/")
        head = connection.read_head()
        assert content.began.wait(WAIT_S)
    assert b"".join(connection.read_body(head)) == b"data: a\r\n\r\ndata: b\r\n\r\n"
    assert content.ended.is_set()
    connection.close()


def test_the_server_ends_and_says_so() -> None:
    """The generator sees it, and has time for its last words."""

    def respond() -> Any:
        ending = anyio.Event()

        async def items() -> AsyncIterator[str]:
            yield "a"
            await ending.wait()
            yield "bye"

        return EventSourceResponse(
            items(), sep="\n", shutdown_event=ending, shutdown_grace_period=WAIT_S
        )

    with serving(application(respond)) as url:
        connection = Connection(url)
        connection.request("GET", "/")
        head = connection.read_head()
    assert b"".join(connection.read_body(head)) == b"data: a\n\ndata: bye\n\n"
    connection.close()


def test_the_reader_takes_nothing() -> None:
    """A phone that has left its Wi-Fi: nothing says so, its socket only fills.
    (Hypercorn on Trio lets nobody cancel a send.)"""
    content = Content()

    def respond() -> Any:
        items = content.items("x" * 65536, endless=True)
        return EventSourceResponse(items, send_timeout=0.2)

    with serving(application(respond)) as url:
        host, port = url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert content.ended.wait(WAIT_S)


@servers
def test_an_error_within(serve: Any) -> None:
    """Also one that looks like what a server raises when the reader is gone."""
    ended = threading.Event()

    async def items() -> AsyncIterator[str]:
        try:
            yield "a"
            raise ConnectionResetError("of a database")
        finally:
            await anyio.sleep(0.01)
            ended.set()

    raised: list[BaseException] = []

    class Watched(EventSourceResponse):
        async def __call__(self, *call: Any) -> None:
            try:
                await super().__call__(*call)
            except Exception as error:
                raised.append(error)
                raise

    with serve(application(lambda: Watched(items()))) as url:
        connection = Connection(url)
        connection.request("GET", "/")
        with pytest.raises((OSError, AssertionError, ValueError, EOFError)):
            list(connection.read_body(connection.read_head()))
        connection.close()
        assert ended.wait(WAIT_S)
    assert [str(error) for error in raised] == ["of a database"]


def test_an_answer_of_a_client_is_closed() -> None:
    """Some call it `close`."""
    closed = threading.Event()

    class Answer:
        def __aiter__(self) -> Answer:
            return self

        async def __anext__(self) -> str:
            raise StopAsyncIteration

        async def close(self) -> None:
            closed.set()

    assert body_of(lambda: EventSourceResponse(Answer())) == b""
    assert closed.wait(WAIT_S)


def test_a_generator_that_cannot_be_ended(caplog: pytest.LogCaptureFixture) -> None:
    """Its `finally` has the time that it is given."""
    content = Content(wait_s=600)

    def respond() -> Any:
        return EventSourceResponse(content.items(), cleanup_timeout=0.05)

    with serving(application(respond)) as url:
        with read_one(url):
            assert content.began.wait(WAIT_S)
    assert "was closed for more than 0.05 s" in caplog.text
    assert not content.ended.is_set()


def test_nothing_is_left() -> None:
    tasks: list[int] = []
    content = Content()
    app = application(lambda: EventSourceResponse(content.items()))

    @app.get("/tasks")
    async def count() -> int:
        tasks.append(len(asyncio.all_tasks()))
        return tasks[-1]

    with serving(app) as url, Connection(url) as connection:
        before = connection.ask("GET", "/tasks").json()
        for _ in range(3):
            with read_one(url):
                assert content.began.wait(WAIT_S)
        while connection.ask("GET", "/tasks").json() != before:
            time.sleep(0.01)
    assert max(tasks) >= before


# ---- Real servers ----


@pytest.mark.parametrize("name", [n for n in COMMANDS if n != "uvicorn in a thread"])
def test_servers(name: str, tmp_path: Path) -> None:
    """No hub, no lifespan: the responses notice by themselves that the server wants
    to end."""
    command = [p.replace("app_hub", "app_event_source") for p in COMMANDS[name]]
    server = Server(name, command, tmp_path)
    try:
        gone = server.read("GET", "/ticks")
        gone.wait_for(3)
        gone.connection.reset()
        while server.notes.read_text().split() != ["finally"]:
            time.sleep(0.01)
        readers = [server.read("GET", "/ticks") for _ in range(3)]
        for reader in readers:
            reader.wait_for(3)
        server.process.send_signal(signal.SIGTERM)
        for reader in readers:
            ticks = [event.data for event in reader.rest()]
            assert ticks == [f"tick {n}" for n in range(len(ticks))]
        server.process.wait(DEADLINE_S)
        assert server.notes.read_text().split() == ["finally"] * 4
    finally:
        server.kill()
