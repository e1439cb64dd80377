"""A program of a user who checks types strictly. test_types.py has it checked, and
runs it: a hint that is wrong is an error in one or the other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any, Optional

from fastapi import FastAPI, Request
from libsse.asgi import Application, EventSourceResponse, StreamResponse
from libsse.fastapi import router
from libsse.prometheus import HubCollector
from typing_extensions import assert_type

import libsse
from libsse import (
    Client,
    ClientError,
    Event,
    Gap,
    Hub,
    News,
    Parser,
    Recovered,
    SSEError,
    Stream,
    StreamInfo,
    sync,
    wsgi,
)

hub = Hub("memory:", heartbeat_ms=None, log_events=100, slow_policy="gap")
app = FastAPI(lifespan=hub.lifespan)
app.include_router(router(hub, prefix="/streams"))


async def words() -> AsyncIterator[str]:
    yield "a"


def plain_words() -> Iterator[dict[str, int]]:
    yield {"n": 1}


async def sends(stream: Stream) -> None:
    await stream.send("a", "token")


@app.post("/chat/{id}")
async def chat(id: str, request: Request) -> Any:
    response = hub.respond(request, id, words, user_id="u", headers={"X-Own": "yes"})
    assert_type(response, StreamResponse)
    return response


async def streams() -> None:
    assert_type(await hub.create("s", metadata={"a": 1}, log_events=10), Stream)
    stream = await hub.open("s")
    assert_type(await stream.send({"a": 1}), str)
    assert_type(await stream.send_many(["a", 5], "token"), str)
    assert_type(await stream.complete(), str)
    assert_type(await hub.info("s"), StreamInfo)
    assert_type(await hub.streams(user_id=""), list[StreamInfo])
    found = await hub.recover("s")
    assert_type(found, Recovered)
    assert_type(found.terminal_event, Optional[Event])
    for producer in (words, plain_words, sends):
        made = await hub.create_or_open(producer.__name__, producer)
        assert_type([event async for event in hub.subscribe(made.id)], list[Event])


async def reading() -> None:
    async with hub.subscribe("s") as reader:
        async for event in reader:
            assert_type(event, Event)
            assert_type(event.gap, Optional[Gap])
        assert_type(reader.reason, Optional[str])
    async for piece in hub.subscribe("s", raw=True):
        assert_type(piece, bytes)


def in_threads() -> None:
    with sync.Hub(max_streams=5) as plain:
        stream = plain.create()
        assert_type(stream.send("a"), str)
        stream.complete()
        for event in plain.subscribe(stream.id):
            assert_type(event, Event)
        assert_type(list(plain.subscribe(stream.id, raw=True)), list[bytes])
        assert_type(plain.metrics(), str)
        wsgi.Application(plain, origins=["*"])


def on_the_wire() -> None:
    assert_type(libsse.encode(Event("x", "t", "1")), bytes)
    assert_type(Parser().feed(b"data: x\n\n"), list[Event])
    assert_type(next(iter(libsse.parse(b"data: x\n\n"))), Event)


def following() -> None:
    async def token(status: int) -> str:
        return "secret"

    client = Client("http://127.0.0.1:1/", token=token, max_attempts=1, stall_ms=None)
    assert_type(client.position(), bytes)
    try:
        for event in Client("http://127.0.0.1:1/", max_attempts=1, retry_ms=1):
            assert_type(event, Event)
    except ClientError as error:
        assert_type(error.cause, str)
        assert isinstance(error, SSEError)
    for news in Client("http://127.0.0.1:1/", max_attempts=1).news():
        assert_type(news, News)
        assert_type(news.kind, str)


async def main() -> None:
    async with hub:
        await streams()
        await reading()
        EventSourceResponse(words(), ping=15)
        Application(hub)
        HubCollector(hub)
    in_threads()
    on_the_wire()
    following()


if TYPE_CHECKING:  # each of these is wrong, or the comment is one too many

    async def wrong(stream: Stream, request: Request) -> None:
        Hub(5)  # type: ignore[arg-type]
        Hub(log_events="5")  # type: ignore[arg-type]
        Hub(nonsense=5)  # type: ignore[call-arg]
        Hub(slow_policy="nonsense")  # type: ignore[arg-type]
        stream.send("x", 5)  # type: ignore[arg-type,unused-coroutine]
        await hub.create("s", words)  # type: ignore[call-arg]
        hub.respond(request, 5)  # type: ignore[arg-type]
        hub.subscribe("s", heartbeat_ms="1")  # type: ignore[call-overload]
        sync.Hub().create().send()  # type: ignore[call-arg]
        Client("http://x/", profile="nonsense")  # type: ignore[arg-type]
        Client("http://x/", nonsense=1)  # type: ignore[call-arg]
        for piece in sync.Hub().subscribe("s", raw=True):
            piece.type  # type: ignore[attr-defined]


if __name__ == "__main__":
    asyncio.run(main())
