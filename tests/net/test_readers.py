"""Readers that do not read, and very many that wait."""

import asyncio
from collections import Counter
from contextlib import ExitStack

from aio_http import Peer
from processes import Script
from suite.api import TEXT, Api, path_of
from suite.fixtures import Serve
from suite.server import Server
from suite.sse_reader import Event

MIB = 1 << 20


class Progress:
    """How far readers have come."""

    def __init__(self, readers: int) -> None:
        self.seen = [0] * readers
        self.moved = asyncio.Condition()

    async def set(self, reader: int, seq: int) -> None:
        async with self.moved:
            self.seen[reader] = seq
            self.moved.notify_all()

    async def wait_for(self, seq: int) -> None:
        async with self.moved:
            await self.moved.wait_for(lambda: min(self.seen) >= seq)


class TestStalledReader:
    EVENT_BYTES = 256 * 1024
    COUNT = 800  # 200 MiB
    AHEAD = 4  # events; the healthy readers set the pace
    MARGIN_BYTES = 32 * MIB  # beside the log, which holds 4 MiB

    def test_it_costs_no_memory_and_harms_nobody(self, own_server: Serve) -> None:
        server = own_server()
        api = Api(server.base_url)
        stream = api.new_stream()
        with api.subscribe(stream, receive_buffer=4096):  # and never reads
            before = server.memory_bytes()
            asyncio.run(self.run(server, stream))
            grown = server.peak_memory_bytes() - before
        assert grown < 4 * MIB + self.MARGIN_BYTES
        server.stop()

    async def run(self, server: Server, stream: str) -> None:
        progress = Progress(2)
        readers = [
            asyncio.create_task(self.read(server, stream, progress, number))
            for number in range(2)
        ]
        await self.write(server, stream, progress)
        await asyncio.gather(*readers)

    async def write(self, server: Server, stream: str, progress: Progress) -> None:
        peer = await Peer.connect(server.base_url)
        target = path_of(stream, "events")
        for seq in range(1, self.COUNT + 1):
            await progress.wait_for(seq - self.AHEAD)
            data = self.data(seq).encode()
            status, _ = await peer.ask("POST", target, [TEXT], data)
            assert status == 202
        status, _ = await peer.ask("POST", path_of(stream, "complete"))
        assert status == 200
        peer.close()

    async def read(
        self, server: Server, stream: str, progress: Progress, number: int
    ) -> None:
        """A reader that gets everything, or fails."""
        peer = await Peer.connect(server.base_url)
        await peer.subscribe(path_of(stream))
        expected = 1
        async for item in peer.items():
            if isinstance(item, Event):
                assert item.seq == expected
                last = expected == self.COUNT + 1
                assert item.data == ("{}" if last else self.data(expected))
                await progress.set(number, expected)
                expected += 1
        assert expected == self.COUNT + 2
        peer.close()

    def data(self, seq: int) -> str:
        return f"{seq} ".ljust(self.EVENT_BYTES, "x")


class TestCrowd:
    COUNT = 10_000
    PROCESSES = 2

    def test_one_event_reaches_ten_thousand_readers(self, own_server: Serve) -> None:
        server = own_server()
        api = Api(server.base_url)
        stream = api.new_stream()
        task = {
            "base_url": server.base_url,
            "stream": stream,
            "count": self.COUNT // self.PROCESSES,
        }
        with ExitStack() as stack:
            crowds = [
                stack.enter_context(Script("crowd_process.py", task))
                for _ in range(self.PROCESSES)
            ]
            for crowd in crowds:
                assert crowd.line() == "open"
            event_id = api.append(stream, "to all")
            got: Counter[str] = Counter()
            for crowd in crowds:
                got.update(crowd.result())
        assert got == {f'["{event_id}", "message", "to all"]': self.COUNT}
        server.stop()
