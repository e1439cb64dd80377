"""An application for the tests of servers: an EventSourceResponse that would never
end, in an application that has no hub and no lifespan."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from typing import Any

import anyio
from app_hub import note
from fastapi import FastAPI
from libsse.asgi import EventSourceResponse

app = FastAPI()


async def ticks() -> AsyncIterator[str]:
    n = 0
    try:
        while True:
            yield f"tick {n}"
            n += 1
            await anyio.sleep(0.01)
    finally:
        await anyio.sleep(0.01)
        note("finally")


@app.get("/pid")
async def pid() -> int:
    return os.getpid()


@app.get("/tasks")
async def tasks() -> int:
    return len(asyncio.all_tasks())


@app.get("/ticks")
async def stream() -> Any:
    return EventSourceResponse(ticks())
