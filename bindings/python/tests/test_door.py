"""What is sent in a loop reaches its readers without a wake-up, in order, whole,
and soon; what other threads send wakes the loop."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest
from helpers import events_of, run, run_main

from libsse import Hub, StreamEnded, _door


@pytest.mark.usefixtures("loops")
class TestOrder:
    def test_rows_of_events_with_pauses(self) -> None:
        """One, and many, and all of a sudden none."""
        counts = [1, 1, 2, 3, 70, 1, 500, 2]

        async def words() -> AsyncIterator[str]:
            for n, count in enumerate(counts):
                for i in range(count):
                    yield f"{n} {i}"
                    if i % 3 != 1:
                        await anyio.sleep(0)
                await anyio.sleep(0.003)

        async def test(hub: Hub) -> None:
            await hub.create("s", producer=words)
            seen = [event.data for event in await events_of(hub, "s")]
            sent = [f"{n} {i}" for n, count in enumerate(counts) for i in range(count)]
            assert seen == [*sent, "{}"]

        run(test)

    def test_a_loop_and_a_thread_write_one_channel(self) -> None:
        """Each of them pauses: whatever the other does then must be seen."""
        count = 400

        async def test(hub: Hub) -> None:
            stream = await hub.create("s", channel=True)

            def work() -> None:
                for n in range(count):
                    stream.sync.send(f"thread {n}")
                    if n % 5 == 0:
                        time.sleep(0.0005)

            async def read() -> list[str]:
                seen = []
                async with hub.subscribe("s") as reader:
                    thread.start()
                    async for event in reader:
                        seen.append(event.data)
                        if len(seen) == 2 * count:
                            break
                return seen

            async def write() -> None:
                for n in range(count):
                    await stream.send(f"loop {n}")
                    await anyio.sleep(0.002 if n % 50 == 0 else 0)

            thread = threading.Thread(target=work)
            async with anyio.create_task_group() as group:
                group.start_soon(write)
                seen = await read()
            thread.join()
            for who in ("thread", "loop"):
                mine = [text for text in seen if text.startswith(who)]
                assert mine == [f"{who} {n}" for n in range(count)]

        run(test)


class TestSoon:
    def test_the_first_event_needs_no_turn_of_its_own(self) -> None:
        async def test(hub: Hub) -> None:
            stream = await hub.create("s")
            async with hub.subscribe("s") as reader:
                next_one = asyncio.ensure_future(reader.__anext__())
                await asyncio.sleep(0.01)
                await stream.send("a")
                await asyncio.sleep(0)
                assert next_one.done()
                assert (await next_one).data == "a"

        run(test)

    def test_a_row_of_events_leaves_in_one_piece(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Whatever the clock of a busy machine says."""
        monkeypatch.setattr(_door, "BUSY_S", 10.0)
        monkeypatch.setattr(_door, "HOLD_S", 10.0)

        async def words() -> AsyncIterator[str]:
            for n in range(200):
                yield str(n)
                await asyncio.sleep(0)

        async def test(hub: Hub) -> None:
            await hub.create("s", producer=words)
            pieces = [piece async for piece in hub.subscribe("s", raw=True)]
            assert b"".join(pieces).count(b"data: ") == 201
            assert len(pieces) < 10

        run(test)

    def test_a_producer_that_never_pauses_holds_nothing_back(self) -> None:
        async def test(hub: Hub) -> None:
            stream = await hub.create("s", channel=True)
            going = True

            async def work() -> None:
                while going:
                    await stream.send("a")
                    await asyncio.sleep(0)

            async with hub.subscribe("s") as reader:
                task = asyncio.ensure_future(work())
                start = time.monotonic()
                async for event in reader:
                    if time.monotonic() - start > 0.2:
                        break
                going = False
                await task
                behind = int((await stream.send("z")).split("-")[0])
                assert behind - int(event.id.split("-")[0]) < 5000

        run(test)

    def test_more_readers_than_one_turn_serves(self) -> None:
        async def test(hub: Hub) -> None:
            stream = await hub.create("s")

            async def read() -> list[str]:
                return [event.data async for event in hub.subscribe("s")]

            tasks = [asyncio.ensure_future(read()) for _ in range(3 * _door.BATCH + 1)]
            await asyncio.sleep(0.05)
            await stream.send("a")
            await asyncio.sleep(0.02)
            await stream.send("b")
            await stream.complete()
            for task in tasks:
                assert await task == ["a", "b", "{}"]

        run(test)


class TestInside:
    def test_what_is_handed_over_sends(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """As a finalizer may, or a task that begins at once."""
        monkeypatch.setattr(_door, "BUSY_S", 0.0)

        async def test(hub: Hub) -> None:
            one, two = await hub.create("1"), await hub.create("2")
            async with hub.subscribe("1") as first, hub.subscribe("2") as second:
                door = hub._doors.here()
                take = door.handlers[first._key]

                def send(kind: int, reason: int, data: bytes) -> None:
                    two._send_here("b")
                    take(kind, reason, data)

                await asyncio.sleep(0.01)
                door.handlers[first._key] = send
                await one.send("a")
                assert (await first.__anext__()).data == "a"
                assert (await second.__anext__()).data == "b"

        run(test)

    def test_an_interruption_concerns_one_reader(self) -> None:
        """Where the program then lets the loop go on."""

        async def prepare() -> list[Any]:
            await hub.create("s")
            readers = [hub.subscribe("s") for _ in range(10)]
            for reader in readers:
                await reader.open()
            await asyncio.sleep(0.01)
            hub._doors.here().handlers[readers[4]._key] = interrupt
            return readers

        def interrupt(kind: int, reason: int, data: bytes) -> None:
            raise KeyboardInterrupt

        async def send() -> None:
            await (await hub.open("s")).send("a")

        async def read() -> list[str]:
            del readers[4]
            return [(await reader.__anext__()).data for reader in readers]

        hub = Hub()
        loop = asyncio.new_event_loop()
        readers = loop.run_until_complete(prepare())
        with pytest.raises(KeyboardInterrupt):
            loop.run_until_complete(send())
        assert loop.run_until_complete(asyncio.wait_for(read(), 20)) == ["a"] * 9
        loop.run_until_complete(hub.aclose())
        loop.close()


class TestRefusals:
    def test_a_refused_event_leaves_the_loop_to_be_woken(self) -> None:
        """It had made ready for an event which did not come."""

        async def test(hub: Hub) -> None:
            ended = await hub.create("ended")
            await ended.complete()
            stream = await hub.create("s")
            async with hub.subscribe("s") as reader:
                for n in range(3):
                    with contextlib.suppress(StreamEnded):
                        await ended.send("a")
                    await asyncio.sleep(0.005)
                    thread = threading.Thread(target=stream.sync.send, args=(str(n),))
                    thread.start()
                    event = await asyncio.wait_for(reader.__anext__(), 10)
                    assert event.data == str(n)
                    thread.join()

        run(test)

    def test_a_hub_that_closes_while_a_turn_is_due(self) -> None:
        async def main() -> None:
            unhappy: list[Any] = []
            loop = asyncio.get_running_loop()
            loop.set_exception_handler(lambda _, context: unhappy.append(context))
            hub = Hub()
            stream = await hub.create("s")
            async with hub.subscribe("s"):
                for _ in range(10):
                    await stream.send("a")
                await hub.aclose()
            await asyncio.sleep(0.01)
            assert unhappy == []

        run_main(main)
