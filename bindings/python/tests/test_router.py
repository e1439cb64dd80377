"""All endpoints, wherever an application has them: below a prefix, a mount, a
root_path; behind dependencies; in the schema."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from fastapi import APIRouter, Depends, FastAPI, HTTPException, Request
from helpers import serving
from libsse.asgi import Application
from libsse.fastapi import router
from starlette.applications import Starlette
from starlette.routing import Mount
from suite.api import JSON
from suite.checks import assert_error
from suite.sse_reader import Event, Parser
from suite.wire import Connection, fetch

from libsse import Hub, Unauthorized, wsgi

Make = Callable[[Hub], Any]


def plain(hub: Hub) -> Any:
    app = FastAPI(lifespan=hub.lifespan)
    app.include_router(router(hub))
    return app


def with_prefix(hub: Hub) -> Any:
    app = FastAPI(lifespan=hub.lifespan)
    app.include_router(router(hub), prefix="/v1")
    return app


def with_its_own_prefix_twice(hub: Hub) -> Any:
    app = FastAPI(lifespan=hub.lifespan)
    app.include_router(router(hub, prefix="/s/"), prefix="/s")
    return app


def with_a_parameter(hub: Hub) -> Any:
    app = FastAPI(lifespan=hub.lifespan)
    app.include_router(router(hub), prefix="/{tenant}")
    return app


def nested(hub: Hub) -> Any:
    app = FastAPI(lifespan=hub.lifespan)
    between = APIRouter(prefix="/deep")
    between.include_router(router(hub))
    app.include_router(between, prefix="/v1")
    return app


def mounted(hub: Hub) -> Any:
    app = FastAPI(lifespan=hub.lifespan)
    inner = FastAPI()
    inner.include_router(router(hub))
    app.mount("/x", inner)
    return app


def application(hub: Hub) -> Any:
    return Application(hub)


def application_mounted(hub: Hub) -> Any:
    return Starlette(routes=[Mount("/x", Application(hub))], lifespan=hub.lifespan)


def with_a_root_path(hub: Hub) -> Any:
    """Behind a proxy that takes it off: no path has it."""
    app = FastAPI(lifespan=hub.lifespan, root_path="/proxy")
    app.include_router(router(hub))
    return app


# Where the streams are then, as the caller writes it and as the server tells it.
PLACES: list[tuple[Make, str, str, str]] = [
    (plain, "", "/api/stream", ""),
    (plain, "/proxy", "/api/stream", "/proxy"),
    (with_a_root_path, "", "/api/stream", "/proxy"),
    (with_prefix, "", "/v1/api/stream", ""),
    (with_prefix, "/proxy", "/v1/api/stream", "/proxy"),
    (with_its_own_prefix_twice, "", "/s/s", ""),
    (with_a_parameter, "", "/acme/api/stream", ""),
    (nested, "", "/v1/deep/api/stream", ""),
    (mounted, "", "/x/api/stream", ""),
    (mounted, "/proxy", "/x/api/stream", "/proxy"),
    (application, "", "/api/stream", ""),
    (application, "/proxy", "/api/stream", "/proxy"),
    (application_mounted, "", "/x/api/stream", ""),
]


@pytest.mark.filterwarnings("ignore:The .root_path. parameter is deprecated")
@pytest.mark.parametrize("make, root, at, proxy", PLACES)
def test_places(make: Make, root: str, at: str, proxy: str) -> None:
    with serving(make(Hub()), root_path=root) as url:

        def ask(method: str, path: str = "", body: bytes | None = None) -> Any:
            return fetch(url, method, at + path, [JSON], body)

        made = ask("POST", body=b'{"streamId":"s"}')
        assert made.status == 201
        assert made.get("location") == f"{proxy}{at}/s"
        assert ask("POST", "/s/events", b'{"data":"a"}').status == 202
        assert ask("POST", "/s/complete", b'{"data":"b"}').status == 200
        body = ask("GET", "/s").body
        events = [e for e in Parser().feed(body) if isinstance(e, Event)]
        assert [e.data for e in events] == ["a", "b"]
        head = ask("HEAD", "/s")
        assert (head.status, head.body) == (200, b"")
        assert ask("GET", "/s/recover").json()["status"] == "completed"
        assert [s["streamId"] for s in ask("GET").json()["streams"]] == ["s"]
        assert ask("POST", "/s/stop", b"").status == 202
        assert ask("DELETE", "/s").status == 204
        assert_error(ask("GET", "/s"), 404, "not_found")
        assert_error(ask("GET", "/a%20b"), 400, "bad_id")
        assert_error(ask("GET", "/s/nothing"), 404, "not_found")
        assert_error(ask("GET", "/s?last_event_id=%ff"), 404, "not_found")
        wrong = ask("DELETE")
        assert_error(wrong, 405, "method_not_allowed")
        allowed = "GET, HEAD, POST, OPTIONS"
        assert wrong.get("allow") == ask("OPTIONS").get("allow") == allowed


def test_a_cursor_that_is_no_text() -> None:
    with serving(plain(Hub())) as url:
        fetch(url, "POST", "/api/stream", [JSON], b'{"streamId":"s"}')
        for query in ("last_event_id=%ff", "last_event_id=%ff&transport=poll"):
            bad = fetch(url, "GET", f"/api/stream/s?{query}")
            assert_error(bad, 400, "bad_cursor")


def test_beside_the_streams() -> None:
    with serving(with_prefix(Hub())) as url:
        assert fetch(url, "GET", "/v1/health").json() == {"status": "ok"}
        assert b"sse_streams" in fetch(url, "GET", "/v1/metrics").body
        assert_error(fetch(url, "POST", "/v1/health"), 405, "method_not_allowed")
        assert fetch(url, "GET", "/health").json() == {"detail": "Not Found"}

    def without(hub: Hub) -> Any:
        app = FastAPI(lifespan=hub.lifespan)
        app.include_router(router(hub, metrics=False, health=False))
        return app

    with serving(without(Hub())) as url:
        for path in ("/health", "/metrics"):
            for method in ("GET", "POST"):
                assert fetch(url, method, path).json() == {"detail": "Not Found"}


VERBS = [
    ("POST", "", b"{}"),
    ("GET", "", None),
    ("POST", "/", b"{}"),
    ("GET", "/", None),
    ("HEAD", "/", None),
    ("GET", "/s", None),
    ("HEAD", "/s", None),
    ("DELETE", "/s", None),
    ("POST", "/s/events", b'{"data":1}'),
    ("POST", "/s/complete", b""),
    ("POST", "/s/fail", b""),
    ("POST", "/s/stop", b""),
    ("GET", "/s/recover", None),
]


@pytest.mark.parametrize("at", ["router", "include_router"])
def test_dependencies_are_asked(at: str) -> None:
    """Before each verb; one may read the body too."""
    hub = Hub()
    asked: list[tuple[str, bytes]] = []

    async def check(request: Request) -> None:
        asked.append((request.method, await request.body()))
        if request.headers.get("x-user") != "u1":
            raise HTTPException(418)

    app = FastAPI(lifespan=hub.lifespan)
    streams = router(hub)
    if at == "router":
        between = APIRouter(dependencies=[Depends(check)])
        between.include_router(streams)
        app.include_router(between)
    else:
        app.include_router(streams, dependencies=[Depends(check)])
    with serving(app) as url:
        hub.sync.create("s")
        for method, path, body in VERBS:
            refused = fetch(url, method, "/api/stream" + path, [JSON], body)
            assert refused.status == 418, (method, path)
        for path in ("/health", "/metrics"):
            assert fetch(url, "GET", path).status == 418
        assert len(asked) == len(VERBS) + 2
        assert [info.last_seq for info in hub.sync.streams()] == [0]

        headers = [JSON, ("X-User", "u1")]
        sent = fetch(url, "POST", "/api/stream/s/events", headers, b'{"data":"a"}')
        assert sent.status == 202 and asked[-1] == ("POST", b'{"data":"a"}')
        assert hub.sync.recover("s").events[0].data == "a"
        with Connection(url) as connection:  # and the reader's end is still seen
            connection.request("GET", "/api/stream/s", headers)
            connection.read_head()
            while hub.sync.info("s").subscribers != 1:
                time.sleep(0.005)
        while hub.sync.info("s").subscribers != 0:
            time.sleep(0.005)


def test_authorize_below_a_prefix() -> None:
    hub = Hub()
    asked: list[tuple[str, str, str]] = []

    def authorize(request: Request, verb: str, stream_id: str) -> str:
        asked.append((request.url.path, verb, stream_id))
        if "x-user" not in request.headers:
            raise Unauthorized()
        return request.headers["x-user"]

    app = FastAPI(lifespan=hub.lifespan)
    app.include_router(router(hub, authorize=authorize), prefix="/v1")
    with serving(app) as url:
        assert fetch(url, "GET", "/v1/api/stream").status == 401
        headers = [JSON, ("X-User", "u1")]
        body = b'{"streamId":"s"}'
        assert fetch(url, "POST", "/v1/api/stream", headers, body).status == 201
        assert fetch(url, "POST", "/v1/api/stream/s/fail", headers, b"").status == 200
    assert asked == [
        ("/v1/api/stream", "list", ""),
        ("/v1/api/stream", "create", ""),
        ("/v1/api/stream/s/fail", "append", "s"),
    ]


class TestTheWordOfTheHook:
    """What it may not give is no yes: all streams of all users would be open."""

    @staticmethod
    def hub() -> Hub:
        hub = Hub()
        hub.sync.create("s", user_id="u1")
        hub.sync.create("open")
        return hub

    @pytest.mark.parametrize("word", [5, b"u2", {"user": "u2"}, object()])
    @pytest.mark.parametrize("kind", ["asgi", "wsgi"])
    def test_none_that_it_may_give(self, kind: str, word: Any) -> None:
        hub = self.hub()
        assert self.status(kind, hub, lambda *_: word, "/api/stream/s/stop") == 500
        assert not hub.sync.info("s").stop_requested

    def test_one_that_nobody_awaits(self) -> None:
        async def authorize(*_: Any) -> bool:
            return False

        assert self.status("wsgi", self.hub(), authorize, "/api/stream/s/stop") == 500

    @pytest.mark.parametrize("kind", ["asgi", "wsgi"])
    @pytest.mark.parametrize("path", ["/api/stream", "/api/stream/open/stop"])
    def test_a_user_without_a_name(self, kind: str, path: str) -> None:
        """Streams without an owner have that one, and a list for it is of all."""
        assert self.status(kind, self.hub(), lambda *_: "", path) == 403

    @staticmethod
    def status(kind: str, hub: Hub, authorize: Any, path: str) -> int:
        method = "POST" if path.endswith("/stop") else "GET"
        app: Any
        if kind == "asgi":
            app = FastAPI()
            app.include_router(router(hub, authorize=authorize))
            with serving(app) as url:
                return fetch(url, method, path).status
        app = wsgi.Application(hub.sync, authorize=authorize)
        environ = {"REQUEST_METHOD": method, "PATH_INFO": path, "SCRIPT_NAME": ""}
        said: list[str] = []
        try:
            list(app(environ, lambda status, _: said.append(status)))
        except TypeError:  # what a WSGI server answers with 500
            return 500
        return int(said[0].split()[0])


def test_origins_are_several() -> None:
    with pytest.raises(TypeError, match="origins must be several"):
        router(Hub(), origins="https://app.example")


@pytest.mark.filterwarnings("error")
def test_the_schema() -> None:
    schema = plain(Hub()).openapi()
    paths = {path: set(known) for path, known in schema["paths"].items()}
    assert paths == {
        "/api/stream": {"get", "post"},
        "/api/stream/{stream_id}": {"get", "delete"},
        "/api/stream/{stream_id}/events": {"post"},
        "/api/stream/{stream_id}/complete": {"post"},
        "/api/stream/{stream_id}/fail": {"post"},
        "/api/stream/{stream_id}/stop": {"post"},
        "/api/stream/{stream_id}/recover": {"get"},
        "/metrics": {"get"},
        "/health": {"get"},
    }
    read = schema["paths"]["/api/stream/{stream_id}"]["get"]
    names = {parameter["name"] for parameter in read["parameters"]}
    assert names == {"stream_id", "last_event_id", "transport", "Last-Event-ID"}
    assert "text/event-stream" in read["responses"]["200"]["content"]
    assert {"204", "400", "404"} <= set(read["responses"])
    every = [call for known in schema["paths"].values() for call in known.values()]
    assert len({call["operationId"] for call in every}) == len(every)


def test_a_prefix_with_parameters_is_refused() -> None:
    with pytest.raises(ValueError, match="include_router"):
        router(Hub(), prefix="/{tenant}/stream")
