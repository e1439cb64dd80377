"""The client, against a real server; with `for` and `async for`."""

from __future__ import annotations

import asyncio
import gc
import pickle
import threading
from collections.abc import Iterator
from typing import Any

import anyio
import pytest
from suite.api import Api
from test_servers import COMMANDS, Server

import libsse
from libsse import Client, ClientError, Event
from libsse._events import text_of


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server("uvicorn", COMMANDS["uvicorn"], tmp_path_factory.mktemp("client"))
    yield server
    server.kill()


def produce(server: Server, id: str, count: int = 10) -> list[Event]:
    """A stream that has ended; its events."""
    events = server.read("POST", f"/chat/{id}?count={count}").rest()
    return [Event(e.data, e.type, e.id or "") for e in events]


async def read_async(client: Client) -> list[Event]:
    return [event async for event in client]


def read_sync(client: Client) -> list[Event]:
    return list(client)


@pytest.fixture(params=["sync", "asyncio", "trio"])
def read(request: pytest.FixtureRequest) -> Any:
    if request.param == "sync":
        return read_sync
    return lambda client: anyio.run(read_async, client, backend=request.param)


def test_whole(server: Server, read: Any) -> None:
    events = produce(server, "whole")
    assert read(Client(f"{server.base_url}/chat/whole")) == events
    client = Client(f"{server.base_url}/chat/whole", last_event_id=events[3].id)
    assert read(client) == events[4:]
    assert client.header("x-stream-id") == "whole"


def test_live(server: Server, read: Any) -> None:
    client = Client(f"{server.base_url}/chat/live?count=50", method="POST")
    events = read(client)
    assert [e.data for e in events[:-1]] == [f"token {n}" for n in range(50)]


def test_a_lost_stream_is_told_across_processes() -> None:
    error = ClientError("status", 404, "HTTP status 404", "nope")
    copy = pickle.loads(pickle.dumps(error))
    assert (copy.cause, copy.http_status, copy.body) == ("status", 404, "nope")
    assert str(copy) == "HTTP status 404"


def test_refused(server: Server, read: Any) -> None:
    with pytest.raises(ClientError) as caught:
        read(Client(f"{server.base_url}/chat/nobody"))
    assert (caught.value.cause, caught.value.http_status) == ("status", 404)
    assert "not_found" in caught.value.body


def test_nobody_there(read: Any) -> None:
    with pytest.raises(ClientError) as caught:
        read(Client("http://127.0.0.1:1/", max_attempts=2, retry_ms=1))
    assert caught.value.cause == "attempts"


def test_a_restart_in_the_middle(server: Server) -> None:
    got: list[Event] = []
    client = Client(f"{server.base_url}/chat/cut?count=60", method="POST", retry_ms=1)
    for event in client:
        got.append(event)
        if len(got) % 20 == 5:
            client.restart()
    assert [e.data for e in got[:-1]] == [f"token {n}" for n in range(60)]
    assert got[-1].type == "completed"


def test_the_position_outlives_the_client(server: Server) -> None:
    events = produce(server, "position")
    url = f"{server.base_url}/chat/position"
    position = None
    got: list[Event] = []
    while len(got) < len(events):
        client = Client(url, state=position)
        taken = 0
        for event in client:
            if taken == 3:
                break  # asking for this one said that the three are dealt with
            got.append(event)
            taken += 1
        position = client.position()
        client.close()
    assert got == events


def test_close_while_a_thread_waits(server: Server) -> None:
    client = Client(f"{server.base_url}/chat/endless", method="POST")
    started = threading.Event()
    done: list[int] = []

    def read() -> None:
        count = 0
        for _ in client:
            started.set()
            count += 1
        done.append(count)

    thread = threading.Thread(target=read)
    thread.start()
    assert started.wait(30)
    client.close()
    thread.join(30)
    assert done and done[0] >= 1


def test_one_client_in_threads_and_in_a_loop(server: Server) -> None:
    """Each event reaches one of them; all of them end."""
    client = Client(f"{server.base_url}/chat/shared?count=300", method="POST")
    got: list[str] = []

    async def main() -> None:
        async for event in client:
            got.append(event.data)

    def loop() -> None:
        asyncio.run(main())

    def plain() -> None:
        got.extend(event.data for event in client)

    threads = [threading.Thread(target=t) for t in (loop, plain, plain)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)
    assert sorted(got) == sorted([*(f"token {n}" for n in range(300)), "{}"])


def test_many_in_one_loop(server: Server) -> None:
    events = produce(server, "many")

    async def main() -> None:
        url = f"{server.base_url}/chat/many"
        transcripts = await asyncio.gather(
            *(read_async(Client(url)) for _ in range(30))
        )
        assert all(transcript == events for transcript in transcripts)

    asyncio.run(main())


def test_what_a_program_knows_of_its_machine(server: Server) -> None:
    """Each break is made good: nothing is missing, nothing comes twice."""
    client = Client(f"{server.base_url}/chat/steered?count=100", method="POST")
    breaks = [
        (client.suspend, client.resume),
        (client.offline, client.online),
        (client.restart, lambda: None),
    ]
    data = []
    for event in client:
        data.append(event.data)
        if breaks and len(data) % 10 == 0:
            begin, end = breaks.pop()
            begin()
            end()
    assert data == [*(f"token {n}" for n in range(100)), "{}"]
    assert breaks == []


def test_end_types(server: Server, read: Any) -> None:
    events = produce(server, "ends")
    url = f"{server.base_url}/chat/ends"
    assert read(Client(url, end_types=["other", "message"])) == events[:1]
    assert read(Client(url, end_types=["completed"])) == events


@pytest.mark.parametrize("body", ["text", b"bytes", {"a": [1, None]}])
def test_body(server: Server, read: Any, body: Any) -> None:
    client = Client(f"{server.base_url}/echo", body=body, profile="finite")
    (event,) = read(client)
    sent = body if isinstance(body, bytes) else text_of(body).encode()
    kind = "application/json" if isinstance(body, dict) else None
    assert event.data == f"{kind} {sent!r}"


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        ({"url": "nonsense"}, "the url must be an http or https URL"),
        ({"method": "G T"}, "method cannot be 'G T'"),
        ({"headers": {"a": "b\nc"}}, "a: 'b\\nc' cannot be sent as a header"),
        ({"end_types": ["a\nb"]}, "'a\nb' is no type of an event"),
        ({"token": "a\nb"}, "the token must be of characters"),
        ({"state": b"nonsense"}, "the state is damaged"),
        ({"settings": {"proxy": "x\ny"}}, "proxy cannot be"),
    ],
)
def test_bad_arguments(arguments: Any, sentence: str) -> None:
    with pytest.raises(libsse.InvalidArgument) as raised:
        Client(**{"url": "http://127.0.0.1:1", **arguments})
    assert str(raised.value).startswith(sentence.replace("\n", "\\n"))


def test_headers_that_are_none() -> None:
    with pytest.raises(TypeError, match="headers must be a mapping"):
        Client("http://127.0.0.1:1", headers="x")  # type: ignore[arg-type]


def test_token_hook(server: Server) -> None:
    asked: list[int] = []

    async def token(status: int) -> str:
        asked.append(status)
        return "secret"

    events = produce(server, "token")
    url = f"{server.base_url}/chat/token"
    assert asyncio.run(read_async(Client(url, token=token))) == events
    assert asked == [0]
    with pytest.raises(TypeError, match="async token function"):
        list(Client(url, token=token))


def test_dropped_without_a_word(server: Server) -> None:
    for n in range(30):
        client = Client(f"{server.base_url}/chat/dropped?count=5", method="POST")
        if n % 2:
            next(iter(client))
        del client
    gc.collect()


@pytest.mark.parametrize(
    "options, error",
    [
        ({"profile": "nonsense"}, ValueError),
        ({"retry_ms": "5"}, TypeError),
        ({"nonsense": 5}, TypeError),
        ({"settings": {"nonsense": "x"}}, ValueError),
        ({"headers": {"a": 5}}, TypeError),
        ({"headers": {"a b": "x"}}, ValueError),
        ({"state": b"damaged"}, ValueError),
        ({"max_attempts": -1}, ValueError),
        ({"token": 5}, TypeError),
        ({"end_types": "done"}, TypeError),
        ({"ack": "yes"}, TypeError),
        ({"insecure": 1}, TypeError),
    ],
)
def test_wrong_options(options: Any, error: type) -> None:
    with pytest.raises(error):
        Client("http://127.0.0.1:1/", **options)


@pytest.mark.parametrize("url", ["", "nonsense", "ftp://x/", "x" * 9000])
def test_wrong_urls(url: str) -> None:
    with pytest.raises(ValueError):
        Client(url)


def test_the_suites_api_agrees(server: Server) -> None:
    """What the client reads is what a plain reader of the wire reads."""
    events = produce(server, "agree")
    response = Api(server.base_url).ask("GET", "/chat/agree")
    assert response.body.count(b"\ndata: ") == len(events)
