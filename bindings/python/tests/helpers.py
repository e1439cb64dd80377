"""What several tests need."""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

import anyio
import pytest
import uvicorn

from libsse import Event, Hub

WAIT_S = 30.0  # so that a test fails instead of hanging


backend = "asyncio"  # or "trio": see the fixture `loops`


def run_main(main: Callable[[], Awaitable[Any]]) -> Any:
    """In an event loop of its own."""

    async def bounded() -> Any:
        with anyio.fail_after(WAIT_S):
            return await main()

    return anyio.run(bounded, backend=backend)


def run(test: Callable[[Hub], Awaitable[Any]], **options: Any) -> Any:
    """Runs a test in an event loop of its own, with a hub of its own."""

    async def main() -> Any:
        async with Hub(**options) as hub:
            return await test(hub)

    return run_main(main)


class Begun:
    """Something that goes on beside a test: `async with beside() as begin`."""

    def __init__(self, call: Callable[..., Awaitable[Any]], *args: Any) -> None:
        self._call = call
        self._args = args
        self._results: list[Any] = []
        self._ended = anyio.Event()

    async def run(self) -> None:
        try:
            self._results.append(await self._call(*self._args))
        finally:
            self._ended.set()

    @property
    def done(self) -> bool:
        return self._ended.is_set()

    async def result(self) -> Any:
        await self._ended.wait()
        return self._results[0]


@contextlib.asynccontextmanager
async def beside() -> AsyncIterator[Callable[..., Begun]]:
    async with anyio.create_task_group() as group:

        def begin(call: Callable[..., Awaitable[Any]], *args: Any) -> Begun:
            begun = Begun(call, *args)
            group.start_soon(begun.run)
            return begun

        yield begin


async def events_of(hub: Hub, id: str, cursor: str = "") -> list[Event]:
    """All events of a stream, up to its end."""
    return [event async for event in hub.subscribe(id, cursor)]


def logged(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    """By the library: a slow event loop has things to say, too."""
    return [record for record in caplog.records if record.name == "libsse"]


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await anyio.sleep(0.005)


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


@contextlib.contextmanager
def serving_wsgi(app: Any) -> Iterator[str]:
    """The same under a server of WSGI."""

    class Quiet(WSGIRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    with make_server("127.0.0.1", 0, app, handler_class=Quiet) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
