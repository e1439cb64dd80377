"""WSGI: Flask and Django behind real servers, and what their end does to readers and
producers."""

from __future__ import annotations

import io
import json
import logging
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from wsgiref.handlers import SimpleHandler
from wsgiref.util import setup_testing_defaults

import pytest
from libsse.wsgi import Application, respond
from suite.api import JSON
from suite.checks import assert_error
from suite.sse_reader import Event, Parser, Retry
from suite.wire import Connection, fetch
from helpers import logged
from helpers import serving_wsgi as serving
from test_servers import DEADLINE_S, PYTHON, Server, check_a_life

import libsse
from libsse import sync


WORKERS = {
    "gthread": ["-k", "gthread", "--threads", "8"],
    "gthread --preload": ["-k", "gthread", "--threads", "8", "--preload"],
    "sync": ["-k", "sync"],
    "gevent": ["-k", "gevent"],
}
APPS = ["flask", "django"]


def gunicorn(folder: Path, app: str, worker: str, **environment: str) -> Server:
    command = [*PYTHON, "gunicorn", f"app_wsgi:{app}_app", *WORKERS[worker]]
    command += ["-b", "127.0.0.1:{port}", "--graceful-timeout", "15"]
    return Server(app, command, folder, **environment)


@pytest.fixture(params=APPS)
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    server = gunicorn(tmp_path, request.param, "gthread")
    yield server
    server.kill()


def events_of(body: bytes) -> list[Event]:
    return [item for item in Parser().feed(body) if isinstance(item, Event)]


def test_a_life(server: Server) -> None:
    events = check_a_life(server, "/api/stream/b/stop", 202)
    url = server.base_url
    end = fetch(url, "GET", "/chat/a", [("Last-Event-ID", events[-1].id or "")])
    assert (end.status, end.body) == (204, b"")
    assert_error(fetch(url, "GET", "/chat/nobody"), 404, "not_found")
    assert_error(fetch(url, "GET", "/chat/a?last_event_id=x"), 400, "bad_cursor")
    poll = fetch(url, "GET", "/chat/a?transport=poll&last_event_id=18").json()
    assert [e["data"] for e in poll["events"]] == ["token 18", "token 19", "{}"]
    head = fetch(url, "HEAD", "/chat/a")
    assert (head.status, head.body) == (200, b"")
    assert head.get("content-type") == "text/event-stream"
    assert head.get("x-stream-id") == "a" and head.get("x-own") == "yes"
    state = fetch(url, "GET", "/api/stream/a/recover").json()["status"]
    assert state == "completed"
    while server.notes.read_text().split() != ["finally", "finally"]:
        time.sleep(0.01)


def test_middleware_that_packs(server: Server) -> None:
    """Django's would hold events back until there is enough of them."""
    packed = [("Accept-Encoding", "gzip")]
    response = fetch(server.base_url, "POST", "/chat/a?count=1", packed, b"")
    assert response.get("content-encoding") is None
    assert [event.data for event in events_of(response.body)] == ["token 0", "{}"]


@pytest.mark.parametrize("worker", WORKERS)
@pytest.mark.parametrize("app", APPS)
def test_shutdown(app: str, worker: str, tmp_path: Path) -> None:
    """The producer is told, who reads gets the end, and the process ends by itself
    before Gunicorn kills it."""
    server = gunicorn(tmp_path, app, worker)
    try:
        readers = [server.read("POST", "/chat/a")]
        if worker != "sync":  # which reads one at a time
            readers += [server.read("GET", "/chat/a") for _ in range(2)]
        for reader in readers:
            reader.wait_for(3)
        server.process.send_signal(signal.SIGTERM)
        for reader in readers:
            last = reader.rest()[-1]
            assert last.type == "cancelled"
            assert json.loads(last.data) == {"reason": "shutdown"}
        assert server.process.wait(DEADLINE_S) == 0
        assert server.notes.read_text().split() == ["finally"]
        assert "killed" not in server.log().lower()
    finally:
        server.kill()


def test_shutdown_without_readers(url: str, tmp_path: Path) -> None:
    """A producer that nobody reads ends its stream too, where others see it."""
    server = gunicorn(tmp_path, "flask", "gthread", APP_STORE=url)
    try:
        reader = server.read("POST", "/chat/a")
        reader.wait_for(3)
        reader.connection.reset()
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(DEADLINE_S) == 0
    finally:
        server.kill()
    with sync.Hub(url) as hub:
        assert hub.info("a").state == "cancelled"


PROGRAM = """
import sys
import time
from wsgiref.util import setup_testing_defaults

from libsse import sync
from libsse.wsgi import respond

def words():
    try:
        while True:
            yield "a"
            time.sleep(0.01)
    finally:
        print("finally")

environ = {}
setup_testing_defaults(environ)
body = respond(sync.Hub(sys.argv[1]), "p", words)(environ, lambda *_: None)
next(iter(body))
"""


def test_a_program_that_ends_stops_its_producers(url: str) -> None:
    """Whatever server it has, or none."""
    command = [sys.executable, "-c", PROGRAM, url]
    done = subprocess.run(command, stdout=subprocess.PIPE, timeout=60, check=True)
    assert done.stdout == b"finally\n"
    with sync.Hub(url) as hub:
        assert hub.recover("p").terminal_event.json() == {"reason": "shutdown"}


def test_silent_readers_are_told_to_come_back(
    url: str,
    tmp_path: Path,
) -> None:
    """Their stream is of another process, and goes on."""
    with sync.Hub(url) as hub:
        stream = hub.create("s")
        stream.send("a")
        server = gunicorn(tmp_path, "flask", "gthread", APP_STORE=url)
        try:
            with Connection(server.base_url) as connection:
                connection.request("GET", "/chat/s")
                pieces = connection.read_body(connection.read_head())
                body = next(pieces)
                server.process.send_signal(signal.SIGTERM)
                body += b"".join(pieces)  # complete, or this raises
            assert server.process.wait(DEADLINE_S) == 0
        finally:
            server.kill()
        *_, last = Parser().feed(body)
        assert isinstance(last, Retry) and 1000 <= last.ms <= 3000
        assert [e.data for e in events_of(body)] == ["a"]
        stream.complete()


# ---- A hub in this process ----


@pytest.fixture
def hub() -> Iterator[sync.Hub]:
    with sync.Hub() as hub:
        yield hub


def test_a_hub_that_is_closed_ends_its_readers() -> None:
    hub = sync.Hub()
    hub.create("s")
    with serving(respond(hub, "s")) as url:
        with Connection(url) as connection:
            connection.request("GET", "/")
            pieces = connection.read_body(connection.read_head())
            next(pieces)
            hub.close()
            assert b"".join(pieces).startswith(b"retry: ")


def fails() -> Iterator[str]:
    yield "a"
    raise LookupError("no such table")


def exits() -> Iterator[str]:
    yield "a"
    raise SystemExit("gone")


async def coroutine() -> None:
    pass


@pytest.mark.parametrize(
    "producer, data, told",
    [
        (fails, ["a"], "no such table"),
        (exits, ["a"], "gone"),
        (lambda: 5, [], "a producer gives a generator or a list here, not int"),
        (lambda: "abc", [], "a producer gives a generator or a list here, not str"),
        (coroutine, [], "a producer gives a generator or a list here, not coroutine"),
        (lambda: [object()], [], "Object of type object is not JSON serializable"),
    ],
)
@pytest.mark.parametrize("expose", [False, True])
def test_errors_of_producers(
    producer: Any, data: list[str], told: str, expose: bool, caplog: Any
) -> None:
    with (
        sync.Hub(expose_errors=expose) as hub,
        serving(respond(hub, "s", producer)) as url,
    ):
        with caplog.at_level(logging.ERROR, "libsse"):
            *events, last = events_of(fetch(url, "GET", "/").body)
        assert [e.data for e in events] == data
        assert last.type == "failed"
        message = told if expose else "The producer failed."
        assert json.loads(last.data) == {"error": "producer_failed", "message": message}
        assert hub.info("s").state == "failed"
    (record,) = logged(caplog)
    assert told in record.exc_text or told in str(record.exc_info[1])


def test_a_message_that_cannot_be_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    def producer() -> Any:
        raise OSError("\ud800")

    monkeypatch.setattr(logging.getLogger("libsse"), "disabled", True)
    with (
        sync.Hub(expose_errors=True) as hub,
        serving(respond(hub, "s", producer)) as url,
    ):
        (last,) = events_of(fetch(url, "GET", "/").body)
        assert last.type == "failed"
        assert json.loads(last.data)["message"] == "The producer failed."


def test_a_producer_that_is_given_the_stream(hub: sync.Hub) -> None:
    def producer(stream: sync.Stream) -> None:
        stream.send("a")
        stream.complete({"tokens": 1}, "done")

    with serving(respond(hub, "s", producer, user_id="u1", metadata=[1])) as url:
        one, two = events_of(fetch(url, "GET", "/").body)
        assert (one.data, two.type, two.data) == ("a", "done", '{"tokens":1}')
        assert hub.info("s").metadata == [1]
    with serving(respond(hub, "s", user_id="u2")) as url:
        assert_error(fetch(url, "GET", "/"), 404, "not_found")


def test_context_variables_reach_the_producer(hub: sync.Hub) -> None:
    """So Flask's request is known in it."""
    import flask

    app = flask.Flask("test")

    def words() -> Iterator[str]:
        yield flask.request.headers["X-Word"]

    @app.get("/")
    def route() -> Any:
        answer = respond(hub, "s", words)
        return flask.Response.from_app(answer, flask.request.environ)

    answer = app.test_client().get("/", headers={"X-Word": "hello"})
    assert [e.data for e in events_of(answer.data)] == ["hello", "{}"]


def test_what_is_wrong_is_said_at_once(hub: sync.Hub) -> None:
    with pytest.raises(libsse.BadStreamId):
        respond(hub, "a b")
    with pytest.raises(TypeError):
        respond(hub, "s", fails())  # type: ignore[arg-type]


def test_django_says_where_it_does_not_work(hub: sync.Hub) -> None:
    from app_wsgi import django_respond
    from django.core.handlers.asgi import ASGIRequest

    scope = {"type": "http", "method": "GET", "path": "/", "headers": []}
    with pytest.raises(TypeError, match="libsse.asgi.Application"):
        django_respond(hub, ASGIRequest(scope, io.BytesIO()), "s")


@pytest.mark.parametrize("prefix, at", [("/api/stream", "/x"), ("/x/y", "/x/y")])
def test_mounted(hub: sync.Hub, prefix: str, at: str) -> None:
    """Below a mount, or mounted where its prefix is."""
    from werkzeug.exceptions import NotFound
    from werkzeug.middleware.dispatcher import DispatcherMiddleware

    app = DispatcherMiddleware(NotFound(), {at: Application(hub, prefix=prefix)})
    where = at + prefix if at == "/x" else at
    with serving(app) as url:
        made = fetch(url, "POST", where, [JSON], b'{"streamId":"s"}')
        assert made.status == 201 and made.get("location") == f"{where}/s"
        assert fetch(url, "POST", f"{where}/s/fail", [JSON], b"").status == 200
        assert [e.type for e in events_of(fetch(url, "GET", f"{where}/s").body)] == [
            "failed"
        ]


# ---- Environments that no good server gives ----


def ask(app: Any, **environ: Any) -> tuple[int, Any]:
    """A request as the given environment has it: its status, and its JSON."""
    body = environ.pop("body", b"")
    environ = {"wsgi.input": io.BytesIO(body), **environ}
    setup_testing_defaults(environ)
    out = io.BytesIO()
    handler = SimpleHandler(environ["wsgi.input"], out, io.StringIO(), environ)
    handler.http_version = "1.1"
    handler.run(app)
    head, _, answer = out.getvalue().partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(answer or b"null")


@pytest.mark.parametrize(
    "environ, status, code",
    [
        ({"CONTENT_LENGTH": "abc"}, 400, "bad_request"),
        ({"CONTENT_LENGTH": "-5"}, 400, "bad_request"),
        ({"CONTENT_LENGTH": "+5", "body": b'{"a":1}'}, 400, "bad_request"),
        ({"CONTENT_LENGTH": "\xb2", "body": b'{"a":1}'}, 400, "bad_request"),
        ({"CONTENT_LENGTH": "99", "body": b"{}"}, 400, "bad_request"),
        ({"CONTENT_LENGTH": "9" * 30, "body": b"{}"}, 400, "bad_request"),
        ({"CONTENT_LENGTH": "2", "body": b"\xff\xff"}, 400, "bad_utf8"),
        ({"PATH_INFO": "/api/stream/\xff"}, 400, "bad_id"),
        ({"PATH_INFO": "/api/stream/\u20ac/stop"}, 400, "bad_id"),
        ({"PATH_INFO": ""}, 404, "not_found"),
        ({"REQUEST_METHOD": "BREW"}, 405, "method_not_allowed"),
        (
            {
                "REQUEST_METHOD": "GET",
                "PATH_INFO": "/api/stream/s",
                "QUERY_STRING": "last_event_id=\xff%ff&\u20ac&&=",
            },
            400,
            "bad_cursor",
        ),
        (
            {
                "REQUEST_METHOD": "GET",
                "PATH_INFO": "/api/stream/s",
                "HTTP_LAST_EVENT_ID": "\xff\x00",
            },
            400,
            "bad_cursor",
        ),
    ],
)
def test_bad_requests(
    hub: sync.Hub, environ: dict[str, Any], status: int, code: str
) -> None:
    hub.create("s")
    whole = {"REQUEST_METHOD": "POST", "PATH_INFO": "/api/stream", **environ}
    got, answer = ask(Application(hub), **whole)
    assert (got, answer and answer["error"]) == (status, code)


def test_a_body_without_a_length(hub: sync.Hub) -> None:
    """Whatever ends it, it is not read further than a body may be."""

    class Endless(io.RawIOBase):
        def read(self, size: int = -1) -> bytes:
            assert 0 <= size <= 1 << 25
            return b" " * size

    environ = {"wsgi.input_terminated": True, "wsgi.input": Endless()}
    app = Application(hub)
    got, answer = ask(app, REQUEST_METHOD="POST", PATH_INFO="/api/stream", **environ)
    assert (got, answer["error"]) == (413, "too_large")
