"""An application for the tests of servers: one endless stream that can be read and
stopped, one that ends. Configured by the environment, as workers import it."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from typing import Any

import anyio
from fastapi import FastAPI, Request, Response

from libsse import Hub, encode

hub = Hub(os.environ.get("APP_STORE", "memory:"), heartbeat_ms=1000)
app = FastAPI(lifespan=hub.lifespan)


def note(word: str) -> None:
    """Where the test looks for it."""
    path = os.environ.get("APP_NOTES")
    if path:
        with open(path, "a") as file:
            file.write(word + "\n")


async def tokens(count: int) -> AsyncIterator[str]:
    try:
        for n in range(count):
            yield f"token {n}"
            await anyio.sleep(0.01)
    except anyio.get_cancelled_exc_class():
        note("cancelled")
        raise
    finally:
        note("finally")


@app.get("/pid")
async def pid() -> int:
    return os.getpid()


@app.post("/chat/{id}")
async def chat(id: str, request: Request, count: int = 1 << 30) -> Any:
    return hub.respond(request, id, producer=lambda: tokens(count))


@app.get("/chat/{id}")
async def resume(id: str, request: Request) -> Any:
    return hub.respond(request, id)


@app.post("/echo")
async def echo(request: Request) -> Response:
    kind = request.headers.get("content-type")
    told = encode(f"{kind} {await request.body()!r}")
    return Response(told, media_type="text/event-stream")


@app.post("/chat/{id}/stop")
async def stop(id: str) -> None:
    await hub.stop(id)
