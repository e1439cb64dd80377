"""One producer, one reader or a thousand: libsse beside sse-starlette and FastAPI's own
EventSourceResponse, in interleaved rounds, under Uvicorn. Prints a table.

    python bench.py [rounds]

Flat out, the producer gives the loop a turn after each event. Paced, it sends as a
language model does. CPU is the server's, per event delivered."""

from __future__ import annotations

import asyncio
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.sse import EventSourceResponse as FastAPIResponse
from fastapi.sse import ServerSentEvent

TEXT = "x" * 50
KINDS = ("libsse", "sse-starlette", "fastapi")
CASES = [  # name, readers, events, pause between events
    ("1 reader, flat out", 1, 20_000, 0.0),
    ("1 reader, 200/s", 1, 400, 0.005),
    ("1000 readers, flat out", 1000, 200, 0.0),
    ("1000 readers, 10/s", 1000, 30, 0.1),
]

# ---- The server ----


def make_app() -> Any:
    kind = os.environ["BENCH_KIND"]
    readers = int(os.environ["BENCH_READERS"])
    count = int(os.environ["BENCH_EVENTS"])
    pause = float(os.environ["BENCH_PAUSE"])
    all_here = asyncio.Event()
    app: FastAPI
    waiting = 0

    async def wait_for_all() -> None:
        nonlocal waiting
        waiting += 1
        if waiting == readers:
            all_here.set()
        await all_here.wait()

    if kind == "libsse":
        from libsse import Hub

        hub = Hub(log_events=100_000, log_bytes=1 << 26)
        app = FastAPI(lifespan=hub.lifespan)

        async def produce(stream: Any) -> None:
            await all_here.wait()
            for _ in range(count):
                await stream.send(TEXT)
                await asyncio.sleep(pause)

        @app.get("/")
        async def read(request: Request) -> Any:
            asyncio.ensure_future(wait_for_all())
            return hub.respond(request, "s", producer=produce)

        return app

    app = FastAPI()
    queues: list[asyncio.Queue[str | None]] = []
    tasks: list[asyncio.Task[None]] = []

    async def fan_out() -> None:
        await all_here.wait()
        for _ in range(count):
            for queue in queues:
                queue.put_nowait(TEXT)
            await asyncio.sleep(pause)
        for queue in queues:
            queue.put_nowait(None)

    async def items() -> AsyncIterator[Any]:
        queue: asyncio.Queue[str | None] = asyncio.Queue()
        queues.append(queue)
        if not tasks:
            tasks.append(asyncio.ensure_future(fan_out()))
        await wait_for_all()
        while (text := await queue.get()) is not None:
            yield text if kind == "fastapi" else {"data": text}

    if kind == "sse-starlette":
        from sse_starlette import EventSourceResponse

        @app.get("/")
        async def read_starlette() -> Any:
            return EventSourceResponse(items())

    else:

        @app.get("/", response_class=FastAPIResponse)
        async def read_fastapi() -> AsyncIterator[ServerSentEvent]:
            async for text in items():
                yield ServerSentEvent(raw_data=text)

    return app


# ---- The readers ----


class Reader(asyncio.Protocol):
    """Counts events; asks nothing more of the machine than it must."""

    def __init__(self) -> None:
        self.events = 0
        self.done = asyncio.get_running_loop().create_future()
        self.first = 0.0
        self._tail = b""

    def connection_made(self, transport: Any) -> None:
        transport.write(b"GET / HTTP/1.1\r\nHost: bench\r\n\r\n")

    def data_received(self, data: bytes) -> None:
        data = self._tail + data
        self.events += data.count(TEXT.encode())
        self._tail = data[-len(TEXT) + 1 :] if not data.endswith(b"\n") else b""
        if data.endswith(b"0\r\n\r\n"):
            self.connection_lost(None)

    def connection_lost(self, error: Any) -> None:
        if not self.done.done():
            self.done.set_result(None)


async def read_all(port: int, readers: int) -> int:
    loop = asyncio.get_running_loop()
    made = []
    for _ in range(readers):
        _, reader = await loop.create_connection(Reader, "127.0.0.1", port)
        made.append(reader)
    await asyncio.gather(*(reader.done for reader in made))
    return sum(reader.events for reader in made)


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def run_one(kind: str, readers: int, events: int, pause: float) -> tuple[float, float]:
    """Deliveries a second, and microseconds of the server's CPU for each."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    names = {"KIND": kind, "READERS": readers, "EVENTS": events, "PAUSE": pause}
    env = {**os.environ, **{f"BENCH_{k}": str(v) for k, v in names.items()}}
    command = [
        sys.executable, "-m", "uvicorn", "bench:make_app", "--factory",
        "--port", str(port), "--log-level", "error", "--backlog", "4096",
    ]  # fmt: skip
    server = subprocess.Popen(command, env=env, cwd=Path(__file__).parent)
    try:
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.02)
        before, began = cpu_s(server.pid), time.monotonic()
        got = asyncio.run(read_all(port, readers))
        took, used = time.monotonic() - began, cpu_s(server.pid) - before
        assert got == readers * events, (kind, got, readers * events)
        return got / took, used / got * 1e6
    finally:
        server.kill()
        server.wait()


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    print("| case | server | deliveries a second | CPU of each, us | against libsse |")
    print("|---|---|---|---|---|")
    for name, readers, events, pause in CASES:
        results: dict[str, list[tuple[float, float]]] = {kind: [] for kind in KINDS}
        for _ in range(rounds):
            for kind in KINDS:
                results[kind].append(run_one(kind, readers, events, pause))
        ours = statistics.median(cpu for _, cpu in results["libsse"])
        for kind in KINDS:
            rate = statistics.median(rate for rate, _ in results[kind])
            cpu = statistics.median(cpu for _, cpu in results[kind])
            print(f"| {name} | {kind} | {rate:,.0f} | {cpu:.2f} | {cpu / ours:.2f} |")


if __name__ == "__main__":
    main()
