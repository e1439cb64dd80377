"""Responses within applications: FastAPI, Starlette, plain ASGI, WSGI."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from fastapi import FastAPI, Request
from helpers import serving, serving_wsgi
from libsse.asgi import Application
from libsse.fastapi import router
from libsse.prometheus import HubCollector
from prometheus_client import CollectorRegistry, generate_latest
from starlette.middleware.base import BaseHTTPMiddleware
from suite.api import JSON, Api
from suite.checks import assert_error
from suite.sse_reader import Event as Received
from suite.sse_reader import Parser, Retry
from suite.wire import Connection, Response, fetch

import libsse
from libsse import Hub, Recovered, StreamInfo, wsgi


class TestWhatIsNoRequestForAStream:
    """It produces nothing, and leaves no stream behind."""

    @pytest.fixture(params=["asgi", "wsgi"])
    def url(self, request: pytest.FixtureRequest) -> Iterator[str]:
        self.runs = 0

        def producer() -> list[str]:
            self.runs += 1
            return ["a"]

        self.hub = Hub()
        if request.param == "asgi":
            app: Any = FastAPI(lifespan=self.hub.lifespan)

            @app.api_route("/s", methods=["GET", "HEAD"])
            async def read(request: Request) -> Any:
                return self.hub.respond(request, "s", producer)

        else:
            app = wsgi.respond(self.hub.sync, "s", producer)
        serve = serving if request.param == "asgi" else serving_wsgi
        with serve(app) as url:
            yield url

    @pytest.mark.parametrize("cursor", ["x", "1-", "100000000000001", "1-0000000G"])
    @pytest.mark.parametrize("transport", ["sse", "poll"])
    def test_a_bad_cursor(self, url: str, cursor: str, transport: str) -> None:
        path = f"/s?transport={transport}&last_event_id={cursor}"
        assert_error(fetch(url, "GET", path), 400, "bad_cursor")
        assert (self.runs, self.hub.sync.streams()) == (0, [])

    @pytest.mark.parametrize("cursor", ["0", "7", "100000000000000-0000000f"])
    def test_a_good_one(self, url: str, cursor: str) -> None:
        assert fetch(url, "GET", f"/s?last_event_id={cursor}").status == 200
        assert self.runs == 1

    def test_a_head(self, url: str) -> None:
        head = fetch(url, "HEAD", "/s")
        assert (head.status, head.get("x-stream-id"), head.body) == (200, "s", b"")
        assert (self.runs, self.hub.sync.streams()) == (0, [])
        assert fetch(url, "GET", "/s").get("content-type") == head.get("content-type")
        assert (self.runs, fetch(url, "HEAD", "/s").status) == (1, 200)


def events_of(response: Response) -> list[Received]:
    items = Parser().feed(response.body)
    return [item for item in items if isinstance(item, Received)]


async def three() -> AsyncIterator[str]:
    for word in ("a", "b", "c"):
        yield word
        await asyncio.sleep(0.001)


def make_app(hub: Hub, middleware: bool = False) -> FastAPI:
    app = FastAPI(lifespan=hub.lifespan)
    if middleware:

        class Passing(BaseHTTPMiddleware):
            async def dispatch(self, request: Any, call_next: Any) -> Any:
                return await call_next(request)

        app.add_middleware(Passing)

    @app.api_route("/chat/{id}", methods=["GET", "HEAD", "POST"])
    async def chat(id: str, request: Request, user: str = "") -> Any:
        new = request.method == "POST"
        return hub.respond(
            request,
            id,
            producer=three if new else None,
            user_id=user,
            headers={"X-Own": "yes", "Cache-Control": "public"},
        )

    return app


@pytest.mark.parametrize("middleware", [False, True])
class TestRespond:
    @pytest.fixture
    def url(self, middleware: bool) -> Iterator[str]:
        with serving(make_app(Hub(), middleware)) as url:
            yield url

    def test_create_and_resume(self, url: str) -> None:
        whole = events_of(fetch(url, "POST", "/chat/a"))
        assert [e.data for e in whole] == ["a", "b", "c", "{}"]
        assert events_of(fetch(url, "POST", "/chat/a")) == whole
        for cursor in (whole[1].id or "", "2"):
            rest = fetch(url, "GET", "/chat/a", [("Last-Event-ID", cursor)])
            assert events_of(rest) == whole[2:]
            rest = fetch(url, "GET", f"/chat/a?last_event_id={cursor}")
            assert events_of(rest) == whole[2:]
        end = fetch(url, "GET", "/chat/a", [("Last-Event-ID", whole[-1].id or "")])
        assert (end.status, end.body) == (204, b"")

    def test_headers(self, url: str) -> None:
        response = fetch(url, "POST", "/chat/a")
        assert response.get("content-type") == "text/event-stream"
        assert response.get("cache-control") == "no-cache, no-transform"
        assert response.get("x-accel-buffering") == "no"
        assert response.get("x-stream-id") == "a"
        assert response.get("x-own") == "yes"
        head = fetch(url, "HEAD", "/chat/a")
        assert (head.status, head.body) == (200, b"")
        assert head.get("content-type") == "text/event-stream"

    def test_refused(self, url: str) -> None:
        assert_error(fetch(url, "GET", "/chat/nobody"), 404, "not_found")
        fetch(url, "POST", "/chat/a")
        bad = fetch(url, "GET", "/chat/a", [("Last-Event-ID", "x")])
        assert_error(bad, 400, "bad_cursor")

    def test_owner(self, url: str) -> None:
        assert fetch(url, "POST", "/chat/a?user=u1").status == 200
        assert fetch(url, "GET", "/chat/a?user=u1").status == 200
        for method in ("GET", "POST"):
            other = fetch(url, method, "/chat/a?user=u2")
            assert_error(other, 404, "not_found")

    def test_a_gap_comes_first(self, url: str) -> None:
        fetch(url, "POST", "/chat/a")
        answer = fetch(url, "GET", "/chat/a", [("Last-Event-ID", "9-00000000")])
        gap, *rest = events_of(answer)
        assert gap.type == "gap" and json.loads(gap.data)["reason"] == "diverged"
        assert len(rest) == 4

    def test_long_poll(self, url: str) -> None:
        fetch(url, "POST", "/chat/a")
        answer = fetch(url, "GET", "/chat/a?transport=poll&last_event_id=1").json()
        assert [e["data"] for e in answer["events"]] == ["b", "c", "{}"]
        assert answer["state"] == "completed"


def test_a_reader_that_goes_away_is_noticed() -> None:
    """Also one that gets nothing, so that no write can fail."""
    hub = Hub(heartbeat_ms=None)
    gone = threading.Event()

    async def silent() -> AsyncIterator[str]:
        yield "a"
        while not gone.is_set():
            await asyncio.sleep(0.005)

    app = FastAPI(lifespan=hub.lifespan)

    @app.get("/s")
    async def stream(request: Request) -> Any:
        return hub.respond(request, "s", producer=silent)

    with serving(app) as url:
        connection = Connection(url)
        connection.request("GET", "/s")
        connection.read_head()
        while hub.sync.info("s").subscribers != 1:
            time.sleep(0.005)
        connection.close()
        while hub.sync.info("s").subscribers != 0:
            time.sleep(0.005)
        assert hub.sync.info("s").state == "active"
        gone.set()


@pytest.mark.parametrize("with_lifespan", [True, False])
def test_readers_are_told_to_come_back_when_the_server_ends(
    with_lifespan: bool,
) -> None:
    """Also in an application that does not have the hub's lifespan."""
    hub = Hub()
    hub.sync.create("s")
    app = FastAPI(lifespan=hub.lifespan if with_lifespan else None)

    @app.get("/s")
    async def stream(request: Request) -> Any:
        return hub.respond(request, "s")

    with serving(app) as url:
        connection = Connection(url)
        connection.request("GET", "/s")
        head = connection.read_head()
        while hub.sync.info("s").subscribers != 1:
            time.sleep(0.005)
    body = b"".join(connection.read_body(head))  # complete, or this raises
    connection.close()
    *_, last = Parser().feed(body)
    assert isinstance(last, Retry) and 1000 <= last.ms <= 3000


def test_a_server_that_ends_begins_nothing_new_and_finishes_what_runs() -> None:
    hub = Hub(drain_s=20)
    go_on = threading.Event()

    async def producer() -> AsyncIterator[str]:
        yield "a"
        while not go_on.is_set():
            await asyncio.sleep(0.005)
        yield "b"

    app = FastAPI(lifespan=hub.lifespan)

    @app.get("/{id}")
    async def stream(id: str, request: Request) -> Any:
        return hub.respond(request, id, producer=producer)

    with serving(app) as url:
        reader, late = Connection(url), Connection(url)
        assert late.ask("GET", "/nothing?transport=poll").status == 200
        reader.request("GET", "/s")
        head = reader.read_head()
        (door,) = hub._doors._doors.values()
        door.loop.call_threadsafe(hub.begin_shutdown)
        while not hub.closing:
            time.sleep(0.005)
        for id in ("new", "s"):
            answer = late.ask("GET", f"/{id}")
            assert_error(answer, 503, "closing")
            assert answer.get("retry-after")
        go_on.set()
        body = b"".join(reader.read_body(head))
        assert b"data: b" in body and b"event: completed" in body
        reader.close()
        late.close()


class TestAuthorize:
    @pytest.fixture
    def api(self) -> Iterator[Api]:
        hub = Hub()

        async def authorize(request: Any, verb: str, stream_id: str) -> Any:
            user = request.headers.get("x-user")
            if user is None:
                raise libsse.Unauthorized('Basic realm="x"')
            if user == "nobody":
                return False
            asked.append((user, verb, stream_id))
            return user

        asked: list[tuple[str, str, str]] = []
        app = FastAPI(lifespan=hub.lifespan)
        app.include_router(router(hub, authorize=authorize))
        with serving(app) as url:
            yield Api(url)
        assert ("u1", "create", "") in asked

    def test_users(self, api: Api) -> None:
        def ask(user: str, method: str, target: str, body: bytes | None = None) -> Any:
            headers = [JSON] + ([("X-User", user)] if user else [])
            return api.ask(method, target, headers, body)

        created = ask("u1", "POST", "/api/stream", b'{"streamId":"s"}')
        assert created.status == 201
        anonymous = ask("", "GET", "/api/stream/s/recover")
        assert_error(anonymous, 401, "unauthorized")
        assert anonymous.get("www-authenticate") == 'Basic realm="x"'
        assert_error(ask("nobody", "GET", "/api/stream/s"), 403, "forbidden")
        for method, action in (
            ("GET", ""),
            ("GET", "/recover"),
            ("POST", "/events"),
            ("POST", "/complete"),
            ("POST", "/stop"),
            ("DELETE", ""),
        ):
            body = b'{"data":1}' if method == "POST" else None
            other = ask("u2", method, f"/api/stream/s{action}", body)
            assert other.status == 404, (method, action)
        assert ask("u2", "GET", "/api/stream").json() == {"streams": []}
        assert ask("u2", "GET", "/api/stream?userId=u1").status == 404
        taken = ask("u1", "POST", "/api/stream", b'{"streamId":"t","userId":"u2"}')
        assert_error(taken, 403, "forbidden")
        assert ask("u1", "POST", "/api/stream/s/complete", b"").status == 200
        assert_error(
            ask("u2", "POST", "/api/stream", b'{"streamId":"s"}'), 409, "exists"
        )


def test_plain_asgi() -> None:
    """No framework at all: the hub's own application, with its own lifespan."""
    with serving(Application(Hub(), prefix="/streams"), lifespan="on") as url:
        assert fetch(url, "POST", "/streams", [JSON], b'{"streamId":"s"}').status == 201
        done = fetch(url, "POST", "/streams/s/complete", [JSON], b'{"data":"bye"}')
        assert done.status == 200
        assert [e.data for e in events_of(fetch(url, "GET", "/streams/s"))] == ["bye"]
        assert fetch(url, "GET", "/health").json() == {"status": "ok"}


@pytest.mark.parametrize("named", [True, False])
def test_a_route_may_return_what_the_hub_tells(named: bool) -> None:
    hub = Hub()
    app = FastAPI(lifespan=hub.lifespan)

    async def listing() -> Any:
        return await hub.streams()

    async def whole() -> Any:
        return await hub.recover("s")

    models: list[Any] = [list[StreamInfo], Recovered] if named else [None, None]
    for route, model in zip((listing, whole), models):
        app.get(f"/{route.__name__}", response_model=model)(route)
    with serving(app) as url:
        stream = hub.sync.create("s", user_id="u", metadata={"a": [1]})
        id = stream.send("x")
        (info,) = fetch(url, "GET", "/listing").json()
        assert (info["id"], info["state"], info["user_id"]) == ("s", "active", "u")
        assert (info["metadata"], info["last_seq"]) == ({"a": [1]}, 1)
        assert fetch(url, "GET", "/whole").json() == {
            "info": info,
            "events": [{"data": "x", "type": "message", "id": id}],
            "last_event_id": id,
            "terminal_event": None,
        }
        stream.send(hub.sync.info("s"))  # and an event may hold it
        assert hub.sync.look("s", id)[0].json()["metadata"] == {"a": [1]}


def test_prometheus() -> None:
    hub = Hub()
    registry = CollectorRegistry()
    registry.register(HubCollector(hub))
    hub.sync.create().send("x")
    text = generate_latest(registry).decode()
    assert "\nsse_events_in_total 1.0\n" in text
    hub.sync.close()
    assert generate_latest(registry) == b""
