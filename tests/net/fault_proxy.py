"""A TCP proxy that fails as networks do, when a test says so.

It runs on a thread of its own. Faults belong to a connection from its start
(`Faults`), or come over all that are open (`cut`, `reset`, `hold`). They
happen to what the server sends; what the client sends goes through as it is.
"""

import asyncio
import random
import socket
import struct
import threading
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

from suite.wire import TIMEOUT_S

T = TypeVar("T")

SEGMENT = 1460
RETRANSMIT_S = 0.2  # what a lost segment costs, at least, on Linux


def hold_port() -> socket.socket:
    """A port that is taken, and where nobody listens, as long as this is open."""
    place = socket.socket()
    place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    place.bind(("127.0.0.1", 0))
    return place


@dataclass
class Faults:
    refuse: bool = False  # RST at once
    connect_s: float = 0  # before the server is asked
    delay_s: float = 0  # before each piece
    piece: int = 65536  # bytes at a time
    rate: float = 0  # bytes a second
    loss: float = 0  # of segments, which TCP repeats
    cut_after: int | None = None  # FIN behind so many bytes
    reset_after: int | None = None  # RST
    hold_after: int | None = None  # neither bytes nor an end, either way


class _Link:
    """A connection of the client and the one it became."""

    def __init__(self, proxy: "FaultProxy", faults: Faults) -> None:
        self.faults = faults
        self.random = proxy.random
        self.flowing = asyncio.Event()
        self.flowing.set()
        self.writers: list[asyncio.StreamWriter] = []
        self.sent = 0  # to the client

    def end(self, abort: bool) -> None:
        for writer in self.writers:
            if abort:
                linger = struct.pack("ii", 1, 0)
                raw = writer.get_extra_info("socket")
                if raw.fileno() >= 0:  # the peer may have reset it
                    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                writer.transport.abort()
            else:
                writer.close()

    async def pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """What the client sends."""
        while data := await reader.read(65536):
            await self.flowing.wait()
            writer.write(data)
            await writer.drain()
        await self.flowing.wait()

    async def pump_with_faults(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """What the server sends."""
        size = min(self.faults.piece, SEGMENT if self.faults.loss else 65536)
        while data := await reader.read(65536):
            for at in range(0, len(data), size):
                if await self.forward(data[at : at + size], writer):
                    return
        await self.flowing.wait()

    async def forward(self, piece: bytes, writer: asyncio.StreamWriter) -> bool:
        """Whether that was the last that goes through."""
        await asyncio.sleep(self.pause_for(piece))
        limit = self.limit()
        last = limit is not None and self.sent + len(piece) >= limit
        if limit is not None:
            piece = piece[: limit - self.sent]
        await self.flowing.wait()
        writer.write(piece)
        await writer.drain()
        self.sent += len(piece)
        if last:
            await self.meet_limit()
        return last

    def pause_for(self, piece: bytes) -> float:
        pause = self.faults.delay_s
        if self.faults.rate:
            pause += len(piece) / self.faults.rate
        wait = RETRANSMIT_S
        while self.random.random() < self.faults.loss:
            pause += wait
            wait *= 2
        return pause

    def limit(self) -> int | None:
        limits = (
            self.faults.cut_after,
            self.faults.reset_after,
            self.faults.hold_after,
        )
        return min((limit for limit in limits if limit is not None), default=None)

    async def meet_limit(self) -> None:
        if self.limit() == self.faults.hold_after:
            self.flowing.clear()
            await self.flowing.wait()  # until it is released, or cut
        self.end(abort=self.limit() == self.faults.reset_after)


class FaultProxy:
    """Use it in a `with`. `plan` gives the faults of each new connection."""

    def __init__(self, target_port: int, seed: str = "") -> None:
        self.target_port = target_port
        self.random = random.Random(seed)
        self.plan: Callable[[], Faults] = Faults
        self.accepted = 0
        self._links: set[_Link] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._place = hold_port()  # nobody else gets it while nobody listens
        self.port: int = self._place.getsockname()[1]

    def __enter__(self) -> "FaultProxy":
        self._thread.start()
        self.accept()
        return self

    def __exit__(self, *_: object) -> None:
        self._run(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._place.close()

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    # ---- What a test does to it

    def refuse(self) -> None:
        """From now on nobody listens."""
        self._run(self._stop_listening())

    def accept(self) -> None:
        """And now somebody does again, on the same port."""
        self._run(self._listen())

    def cut(self) -> None:
        """Ends those that are open with FIN."""
        self._run(self._end_all(abort=False))

    def reset(self) -> None:
        """Ends them with RST."""
        self._run(self._end_all(abort=True))

    def hold(self) -> None:
        """Those that are open stay so, and nothing moves."""
        self._run(self._let_flow(False))

    def release(self) -> None:
        self._run(self._let_flow(True))

    def open_count(self) -> int:
        return len(self._links)

    # ---- How it does that

    def _run(self, what: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(what, self._loop).result(TIMEOUT_S)

    async def _end_all(self, abort: bool) -> None:
        for link in set(self._links):
            link.end(abort)

    async def _let_flow(self, on: bool) -> None:
        for link in self._links:
            if on:
                link.flowing.set()
            else:
                link.flowing.clear()

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(
            self._serve, "127.0.0.1", self.port, backlog=1024, reuse_address=True
        )

    async def _stop_listening(self) -> None:
        if self._server:
            self._server.close()
            self._server = None

    async def _close(self) -> None:
        await self._stop_listening()
        await self._end_all(abort=True)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        task = asyncio.current_task()
        assert task
        self._tasks.add(task)
        self.accepted += 1
        link = _Link(self, self.plan())
        link.writers.append(writer)
        self._links.add(link)
        try:
            await self._join(link, reader, writer)
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            link.end(abort=False)
            self._links.discard(link)
            self._tasks.discard(task)

    async def _join(
        self,
        link: _Link,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        if link.faults.refuse:
            link.end(abort=True)
            return
        await asyncio.sleep(link.faults.connect_s)
        server_reader, server_writer = await asyncio.open_connection(
            "127.0.0.1", self.target_port
        )
        link.writers.append(server_writer)
        ways = [
            asyncio.ensure_future(link.pump(reader, server_writer)),
            asyncio.ensure_future(link.pump_with_faults(server_reader, writer)),
        ]
        try:
            done, _ = await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            for way in done:
                way.result()
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
