"""The event store under the official SDK of MCP, version 1 and version 2."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import logging
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, Callable, Optional
from urllib.parse import urlsplit

import pytest
from helpers import WAIT_S, logged, serving
from test_servers import PYTHON, Server

from mcp import ClientSession
from mcp.client.streamable_http import streamable_http_client
from mcp.server.streamable_http import StreamableHTTPServerTransport
from mcp.types import JSONRPCMessage
from pydantic import TypeAdapter
from starlette.applications import Starlette
from starlette.routing import Mount

from libsse import Hub
from libsse.mcp import EventStore

try:
    from mcp.server.mcpserver import Context, MCPServer

    VERSION = 2
except ImportError:
    from mcp.server.fastmcp import Context
    from mcp.server.fastmcp import FastMCP as MCPServer

    VERSION = 1

PROTOCOL = "2025-11-25"  # the newest that has sessions
messages: TypeAdapter[Any] = TypeAdapter(JSONRPCMessage)


class Gate:
    """What a tool waits for, until a test has seen what it wants to see."""

    def __init__(self) -> None:
        self._open = threading.Event()

    def open(self) -> None:
        self._open.set()

    async def passed(self) -> None:
        assert await asyncio.to_thread(self._open.wait, WAIT_S)


def tools(server: Any, gate: Gate) -> None:
    @server.tool()
    async def count(ctx: Context) -> str:
        for n in range(6):
            if n == 3:
                await gate.passed()
            await ctx.report_progress(n)
        return "counted"

    @server.tool()
    async def poll(ctx: Context) -> str:
        await ctx.report_progress(0)
        await ctx.close_sse_stream()
        await ctx.report_progress(1)
        return "polled"


def application(hub: Hub, gate: Gate) -> Any:
    """An MCP server as its users write it; the hub ends with it."""
    store = EventStore(hub)
    if VERSION == 1:
        server = MCPServer("test", event_store=store, retry_interval=1)
        app = server.streamable_http_app()
    else:
        server = MCPServer("test")
        app = server.streamable_http_app(event_store=store, retry_interval=1)
    tools(server, gate)
    inner = app.router.lifespan_context

    @contextlib.asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[Any]:
        async with hub.lifespan(app), inner(app) as state:
            yield state

    app.router.lifespan_context = lifespan
    return app


def elsewhere(hub: Hub, session: str) -> Any:
    """Another worker, which has taken a session over."""
    transport = StreamableHTTPServerTransport(session, event_store=EventStore(hub))

    @contextlib.asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[None]:
        async with hub.lifespan(app), transport.connect():
            yield

    class App:
        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            await transport.handle_request(scope, receive, send)

    return Starlette(routes=[Mount("/", App())], lifespan=lifespan)


class Reply:
    """The events of an answer, as they come: (id, data)."""

    def __init__(self, address: str, method: str, headers: dict[str, str], body: Any):
        self._connection = http.client.HTTPConnection(
            urlsplit(address).netloc, timeout=WAIT_S
        )
        text = None if body is None else json.dumps(body)
        self._connection.request(method, "/mcp", text, headers)
        self.response = self._connection.getresponse()

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        id, data = "", ""
        for line in self.response:
            name, _, value = line.decode().rstrip("\r\n").partition(": ")
            if name == "id":
                id = value
            elif name == "data":
                data = value
            elif name == "" and value == "":
                if id or data:
                    yield id, json.loads(data) if data else None
                id, data = "", ""

    def cut(self) -> None:
        self.response.close()
        self._connection.close()


class Peer:
    """A client by hand, which cuts its connections where a test wants it."""

    def __init__(self, address: str, session: str = "", token: str = "") -> None:
        self.address = address
        self.session = session
        self.token = token
        if not session:
            self._initialize()

    def ask(self, method: str, body: Any = None, cursor: str = "") -> Reply:
        headers = {
            "Accept": "application/json, text/event-stream",
            "Content-Type": "application/json",
            "MCP-Protocol-Version": PROTOCOL,
        }
        if self.session:
            headers["Mcp-Session-Id"] = self.session
        if cursor:
            headers["Last-Event-ID"] = cursor
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        return Reply(self.address, method, headers, body)

    def _initialize(self) -> None:
        params = {
            "protocolVersion": PROTOCOL,
            "capabilities": {},
            "clientInfo": {"name": "peer", "version": "1"},
        }
        reply = self.ask("POST", request("initialize", 0, params))
        self.session = reply.response.headers["Mcp-Session-Id"]
        self.opening = list(reply)
        note = {"jsonrpc": "2.0", "method": "notifications/initialized"}
        assert self.ask("POST", note).response.status == 202

    def count(self, token: str = "t") -> Reply:
        meta = {"progressToken": token}
        params = {"name": "count", "arguments": {}, "_meta": meta}
        return self.ask("POST", request("tools/call", 1, params))


def request(method: str, id: int, params: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": id, "method": method, "params": params}


def steps(events: Any) -> list[Any]:
    """Progress as numbers, an answer as its text."""
    told = []
    for _, message in events:
        if message is None:
            continue
        if "method" in message:
            told.append(message["params"]["progress"])
        else:
            told.append(message["result"]["content"][0]["text"])
    return told


def take(reply: Reply, last: int) -> list[tuple[str, Any]]:
    """Up to one step of the progress."""
    taken = []
    for event in reply:
        taken.append(event)
        if event[1] is not None and steps([event]) == [last]:
            break
    return taken


@pytest.fixture(params=["memory", "redis"])
def store_url(request: pytest.FixtureRequest) -> str:
    if request.param == "memory":
        return "memory:"
    return str(request.getfixturevalue("url"))


def test_resumed_while_the_tool_runs(store_url: str) -> None:
    gate = Gate()
    with serving(application(Hub(store_url), gate)) as address:
        peer = Peer(address)
        reply = peer.count()
        first = take(reply, 2)
        reply.cut()
        assert [data for _, data in first][0] is None  # what primes the client
        assert steps(first) == [0, 1, 2]

        again = peer.ask("GET", cursor=first[2][0])  # behind 1
        assert steps(take(again, 2)) == [2]
        gate.open()
        assert steps(again) == [3, 4, 5, "counted"]  # and the response is complete


def test_resumed_when_the_tool_has_ended(store_url: str) -> None:
    gate = Gate()
    with serving(application(Hub(store_url), gate)) as address:
        peer = Peer(address)
        reply = peer.count()
        prime = next(iter(reply))
        reply.cut()
        gate.open()
        whole = list(peer.ask("GET", cursor=prime[0]))
        assert steps(whole) == [0, 1, 2, 3, 4, 5, "counted"]
        for n, (id, _) in enumerate(whole):  # from each of them, as often as wanted
            assert list(peer.ask("GET", cursor=id)) == whole[n + 1 :]


def test_the_opening_request_is_resumed(store_url: str) -> None:
    """Its stream begins before the session has a name."""
    with serving(application(Hub(store_url), Gate())) as address:
        peer = Peer(address)
        (prime, _), answer = peer.opening
        assert list(peer.ask("GET", cursor=prime)) == [answer]


def test_sessions_do_not_see_each_other(store_url: str) -> None:
    gate = Gate()
    gate.open()
    with serving(application(Hub(store_url), gate)) as address:
        one, two = Peer(address), Peer(address)
        mine, other = list(one.count("one")), list(two.count("two"))
        tokens = {m["params"]["progressToken"] for _, m in mine if m and "params" in m}
        assert tokens == {"one"} and steps(mine) == steps(other)
        assert list(one.ask("GET", cursor=mine[0][0])) == mine[1:]
        assert list(two.ask("GET", cursor=mine[0][0])) == []


def test_resumed_by_another_worker(url: str) -> None:
    gate = Gate()
    with serving(application(Hub(url), gate)) as address:
        peer = Peer(address)
        reply = peer.count()
        first = take(reply, 2)
        reply.cut()
        with serving(elsewhere(Hub(url), peer.session)) as other:
            again = Peer(other, peer.session).ask("GET", cursor=first[1][0])
            assert steps(take(again, 2)) == [1, 2]
            gate.open()
            assert steps(again) == [3, 4, 5, "counted"]


def test_a_foreign_session_at_another_worker(url: str) -> None:
    gate = Gate()
    gate.open()
    with serving(application(Hub(url), gate)) as address:
        mine = list(Peer(address).count())
        stranger = "0" * 32
        with serving(elsewhere(Hub(url), stranger)) as other:
            reply = Peer(other, stranger).ask("GET", cursor=mine[0][0])
            assert list(reply) == []


def test_the_client_of_the_sdk(store_url: str) -> None:
    """A server that closes the stream of a request: its client comes back."""

    async def main(address: str) -> None:
        seen: list[float] = []

        async def progress(now: float, *_: Any) -> None:
            seen.append(now)

        async with streamable_http_client(f"{address}/mcp") as streams:
            async with ClientSession(streams[0], streams[1]) as session:
                await session.initialize()
                result = await session.call_tool("poll", {}, progress_callback=progress)
        assert result.content[0].text == "polled"
        assert seen == [0, 1]

    with serving(application(Hub(store_url), Gate())) as address:
        asyncio.run(asyncio.wait_for(main(address), WAIT_S))


# ---- The store by itself ----


def progress(n: int) -> Any:
    params = {"progressToken": "t", "progress": n}
    note = {"jsonrpc": "2.0", "method": "notifications/progress", "params": params}
    return messages.validate_python(note)


def answer(id: int) -> Any:
    return messages.validate_python({"jsonrpc": "2.0", "id": id, "result": {}})


def run(test: Callable[[Hub], Any], url: str = "memory:", **options: Any) -> None:
    async def main() -> None:
        async with Hub(url, **options) as hub:
            await asyncio.wait_for(test(hub), WAIT_S)

    asyncio.run(main())


async def replay(store: EventStore, id: str) -> list[tuple[Optional[str], Any]]:
    got = []

    async def send(event: Any) -> None:
        got.append((event.event_id, event.message))

    assert await store.replay_events_after(id, send) is None
    return got


def test_ids_name_stream_and_position() -> None:
    async def test(hub: Hub) -> None:
        store = EventStore(hub, session="s")
        prime = await store.store_event("1", None)
        one = await store.store_event("1", progress(1))
        two = await store.store_event("1", answer(1))
        assert [id.partition("-")[0] for id in (one, two)] == ["1", "2"]
        assert len({id.partition("@")[2] for id in (prime, one, two)}) == 1
        whole = [(one, progress(1)), (two, answer(1))]
        assert await replay(store, prime) == whole
        assert await replay(EventStore(hub, session="s"), one) == whole[1:]
        assert await replay(EventStore(hub, session="other"), one) == []

    run(test)


def test_a_request_id_may_come_again() -> None:
    async def test(hub: Hub) -> None:
        store = EventStore(hub, session="s")
        await store.store_event("1", answer(1))
        prime = await store.store_event("1", None)
        again = await store.store_event("1", answer(1))
        assert await replay(store, prime) == [(again, answer(1))]

    run(test)


@pytest.mark.parametrize(
    "id", ["", "@", "1", "nonsense", "1-2@3", "x@\0", "0@mcp:" + "0" * 40, "é@é"]
)
def test_ids_that_are_none(id: str) -> None:
    async def test(hub: Hub) -> None:
        store = EventStore(hub, session="s")
        last = await store.store_event("1", progress(1))
        assert await replay(store, id) == []
        assert await replay(store, "nonsense@" + last.partition("@")[2]) == []

    run(test)


def test_other_streams_of_the_hub_are_none_of_it() -> None:
    async def test(hub: Hub) -> None:
        stream = await hub.create("mine")
        await stream.complete(answer(1).model_dump_json(), "message")
        assert await replay(EventStore(hub, session="s"), "0@mine") == []

    run(test)


def test_one_stream_of_two_workers(url: str) -> None:
    async def test(hub: Hub) -> None:
        async with Hub(url) as other:
            one = EventStore(hub, session="shared")
            two = EventStore(other, session="shared")
            ids = [await one.store_event("1", progress(1))]
            ids.append(await two.store_event("1", progress(2)))
            prime = await two.store_event("1", None)
            ids.append(await one.store_event("1", answer(1)))
            assert await replay(two, ids[0]) == [
                (ids[1], progress(2)),
                (ids[2], answer(1)),
            ]
            assert await replay(one, prime) == [(ids[2], answer(1))]

    run(test, url)


def test_what_cannot_be_stored_has_no_id(caplog: pytest.LogCaptureFixture) -> None:
    async def test(hub: Hub) -> None:
        store = EventStore(hub, session="s")
        assert await store.store_event("1", progress(1)) != ""
        assert await store.store_event("2", progress(1)) == ""  # one stream, no more
        await hub.aclose()
        assert await store.store_event("1", progress(2)) == ""

    with caplog.at_level(logging.WARNING, "libsse"):
        run(test, max_streams=1)
    assert len(logged(caplog)) == 2


@pytest.mark.parametrize("session", [None, "s"])
def test_a_store_that_cannot_know_the_session_refuses(session: Any) -> None:
    """Rather than to mix what is of several."""

    class Transport(StreamableHTTPServerTransport):
        async def store(self, store: EventStore) -> str:
            return await store.store_event("1", progress(1))

    async def test(hub: Hub) -> None:
        store = EventStore(hub)
        with pytest.raises(RuntimeError, match="session="):
            await store.store_event("1", progress(1))
        transport = Transport(session)
        if session is not None:
            assert (await transport.store(store)).startswith("1-")
        else:
            with pytest.raises(RuntimeError, match="session="):
                await transport.store(store)

    run(test)


def test_an_answer_that_is_too_large_to_be_kept() -> None:
    """Who resumes is told so; it would wait for ever."""

    async def test(hub: Hub) -> None:
        store = EventStore(hub, session="s")
        prime = await store.store_event("1", None)
        large = {"jsonrpc": "2.0", "id": 1, "result": {"text": "x" * 2000}}
        await store.store_event("1", messages.validate_python(large))
        ((_, message),) = await replay(store, prime)
        body = getattr(message, "root", message)
        assert body.id == 1 and "too large" in body.error.message

    run(test, max_event_bytes=1000)


# ---- Several workers ----


class Switch:
    """A TCP proxy in front of the workers, as a load balancer that changes its mind."""

    def __init__(self, port: int) -> None:
        self.port = port  # where the next connections go
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection(("127.0.0.1", self.port))
                self._open += [near, far]
                for pair in ((near, far), (far, near)):
                    threading.Thread(target=self._pass, args=pair, daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)

    def cut(self, port: int) -> None:
        self.port = port
        for one in self._open:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._listener.close()
        self.cut(0)


@pytest.fixture
def workers(
    url: str,  # noqa: F811
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> Iterator[list[Server]]:
    """Two processes on one Redis; the gate of their tool is a file."""
    environment = {"APP_STORE": url, "APP_GATE": str(tmp_path / "gate")}
    environment["APP_AUTH"] = getattr(request, "param", "")
    command = [*PYTHON, "uvicorn", "app_mcp:app", "--port", "{port}"]
    started: list[Server] = []
    try:
        for name in ("one", "two"):
            (tmp_path / name).mkdir()
            server = Server(name, command, tmp_path / name, "/mcp", **environment)
            started.append(server)
        yield started
    finally:
        for server in started:
            server.kill()


def test_two_workers(workers: list[Server], tmp_path: Path) -> None:
    """Begun on one, cut, and resumed on the other, which has no such session."""
    peer = Peer(workers[0].base_url)
    reply = peer.count()
    first = take(reply, 2)
    reply.cut()
    other = Peer(workers[1].base_url, peer.session)
    again = other.ask("GET", cursor=first[1][0])
    assert again.response.headers["Mcp-Session-Id"] == peer.session
    assert steps(take(again, 2)) == [1, 2]
    (tmp_path / "gate").touch()
    assert steps(again) == [3, 4, 5, "counted"]
    assert steps(other.ask("GET", cursor=first[0][0])) == [0, 1, 2, 3, 4, 5, "counted"]
    ended = other.ask("GET", cursor=list(other.ask("GET", cursor=first[0][0]))[-1][0])
    assert (ended.response.status, list(ended)) == (200, [])

    stranger = Peer(workers[1].base_url, "0" * 32)
    assert stranger.ask("GET", cursor=first[1][0]).response.status in (400, 404)
    assert other.ask("GET", cursor="1@nothing").response.status in (400, 404)
    assert other.ask("GET").response.status in (400, 404)


def test_the_client_of_the_sdk_changes_the_worker(
    workers: list[Server], tmp_path: Path
) -> None:
    """It knows of nothing but a connection that was lost."""
    switch = Switch(workers[0].port)
    seen: list[float] = []

    async def progress(now: float, *_: Any) -> None:
        seen.append(now)
        if now == 2:
            switch.cut(workers[1].port)
        elif now == 0:
            asyncio.get_running_loop().call_later(0.5, (tmp_path / "gate").touch)

    async def main() -> Any:
        async with streamable_http_client(f"{switch.address}/mcp") as streams:
            async with ClientSession(streams[0], streams[1]) as session:
                await session.initialize()
                await session.list_tools()  # which it would ask for behind the call
                return await session.call_tool("count", {}, progress_callback=progress)

    try:
        result = asyncio.run(asyncio.wait_for(main(), WAIT_S))
    finally:
        switch.close()
    assert result.content[0].text == "counted"
    assert seen == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("workers", ["yes"], indirect=True)
def test_two_workers_ask_for_the_same_user(
    workers: list[Server], tmp_path: Path
) -> None:
    """Who knows session and event is not yet who the session is of."""
    (tmp_path / "gate").touch()
    peer = Peer(workers[0].base_url, token="u1")
    whole = list(peer.count())
    for worker in workers:
        own = Peer(worker.base_url, peer.session, token="u1")
        assert list(own.ask("GET", cursor=whole[0][0])) == whole[1:]
        thief = Peer(worker.base_url, peer.session, token="u2")
        assert thief.ask("GET", cursor=whole[0][0]).response.status in (400, 404)
        nobody = Peer(worker.base_url, peer.session)
        assert nobody.ask("GET", cursor=whole[0][0]).response.status == 401
