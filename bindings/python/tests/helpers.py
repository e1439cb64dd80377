"""What several tests need."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import uvicorn

from libsse import Event, Hub

WAIT_S = 30.0  # so that a test fails instead of hanging


def run(test: Callable[[Hub], Awaitable[Any]], **options: Any) -> Any:
    """Runs a test in an event loop of its own, with a hub of its own."""

    async def main() -> Any:
        async with Hub(**options) as hub:
            return await asyncio.wait_for(test(hub), WAIT_S)

    return asyncio.run(main())


async def events_of(hub: Hub, id: str, cursor: str = "") -> list[Event]:
    """All events of a stream, up to its end."""
    return [event async for event in hub.subscribe(id, cursor)]


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.005)


@contextlib.contextmanager
def serving(app: Any, **options: Any) -> Iterator[str]:
    """The application under Uvicorn, in a thread; gives its URL."""
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    config = uvicorn.Config(app, log_level="warning", **options)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]})
    thread.start()
    while not server.started and thread.is_alive():
        time.sleep(0.005)
    try:
        yield f"http://127.0.0.1:{sock.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(WAIT_S)
        assert not thread.is_alive(), "the server does not end"
