"""With a store: several hubs, as several workers have them, on one Redis."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest
from helpers import WAIT_S, beside, events_of, logged, run_main, until
from suite.ports import free_port

import libsse
from libsse import Hub, StreamInfo

pytestmark = pytest.mark.usefixtures("loops")


@contextlib.asynccontextmanager
async def two_hubs(url: str, **options: Any) -> AsyncIterator[tuple[Hub, Hub]]:
    async with Hub(url, **options) as one, Hub(url, **options) as two:
        yield one, two


async def words() -> AsyncIterator[str]:
    for n in range(20):
        yield f"word {n}"
        await anyio.sleep(0.005)


def test_read_elsewhere(url: str) -> None:
    async def main() -> None:
        async with two_hubs(url) as (one, two):
            stream = await one.create(producer=words, user_id="u1", metadata={"a": 1})
            async with beside() as begin:
                readers = [begin(events_of, hub, stream.id) for hub in (one, two)]
            here, there = [await reader.result() for reader in readers]
            assert here == there and len(here) == 21
            assert [e.data for e in here[:2]] == ["word 0", "word 1"]
            rest = await events_of(two, stream.id, here[4].id)
            assert rest == here[5:]
            found = await two.recover(stream.id, here[-2].id)
            assert (found.state, found.events) == ("completed", here[-1:])
            (info,) = await two.streams(user_id="u1")
            assert (info.id, info.metadata) == (stream.id, {"a": 1})

    run_main(main)


def test_the_first_bytes_may_come_before_the_reader_is_open(url: str) -> None:
    """A thread opens it, and the loop hears of its bytes by another way."""

    async def main() -> None:
        async with two_hubs(url) as (one, two):
            for n in range(100):
                stream = await one.create()
                async with two.subscribe(stream.id) as reader:
                    await stream.send(n)
                    assert (await reader.__anext__()).data == str(n)

    run_main(main)


def test_what_was_written_elsewhere_can_be_recovered(url: str) -> None:
    """At once, though the message that tells of it may be on its way."""

    async def main() -> None:
        async with two_hubs(url) as (one, two):
            stream = await one.create(shared=True)
            async with two.subscribe(stream.id):
                for n in range(200):
                    last = await stream.send(n)
                    found = await two.recover(stream.id)
                    assert (found.last_event_id, len(found.events)) == (last, n + 1)
                last = await stream.complete()
                found = await two.recover(stream.id)
                assert (found.state, found.last_event_id) == ("completed", last)

    run_main(main)


def test_stop_from_elsewhere(url: str) -> None:
    async def main() -> None:
        ended: list[str] = []

        async def endless() -> AsyncIterator[str]:
            try:
                while True:
                    yield "x"
                    await anyio.sleep(0.01)
            finally:
                ended.append("finally")

        async with two_hubs(url) as (one, two):
            stream = await one.create(producer=endless)
            async with two.subscribe(stream.id) as reader:
                await reader.__anext__()
                await two.stop(stream.id)
                *_, last = [event async for event in reader]
            assert (last.type, last.data) == ("cancelled", '{"reason":"stop"}')
            await until(lambda: ended == ["finally"])

    run_main(main)


def test_a_producer_runs_on_one_hub(url: str) -> None:
    async def main() -> None:
        runs: list[int] = []

        async def producer() -> AsyncIterator[str]:
            runs.append(1)
            async for word in words():
                yield word

        async with two_hubs(url) as (one, two):
            for n in range(10):
                async with beside() as begin:
                    for hub in (one, two, one, two):
                        begin(hub.create_or_open, f"once-{n}", producer)
            got = [await events_of(hub, "once-0") for hub in (one, two)]
            assert got[0] == got[1] and len(got[0]) == 21
            assert len(runs) == 10

    run_main(main)


def test_a_shared_stream(url: str) -> None:
    async def main() -> None:
        async with two_hubs(url) as (one, two):
            mine = await one.create(shared=True)
            theirs = await two.open(mine.id)
            for n in range(10):
                await (mine if n % 2 else theirs).send(n)
            await theirs.complete()
            for hub in (one, two):
                data = [event.data for event in await events_of(hub, mine.id)]
                assert data == [*map(str, range(10)), "{}"]

    run_main(main)


def test_guardian(url: str) -> None:
    """A producer that dies with its process is asked about, once it is missed."""

    async def main() -> None:
        asked: list[StreamInfo] = []

        async def on_orphan(info: StreamInfo) -> Any:
            asked.append(info)
            return "failed", {"why": "its worker died"}

        async with Hub(url, lease_ms=3000, sweep_ms=200) as hub:
            command = [sys.executable, "-c", DYING, url]
            worker = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
            assert worker.stdout
            id = worker.stdout.readline().strip()
            async with hub.subscribe(id) as reader:
                await reader.__anext__()
            async with hub.guardian(on_orphan):
                worker.kill()
                worker.wait()
                *_, last = await events_of(hub, id)
            assert (last.type, last.json()) == ("failed", {"why": "its worker died"})
            assert ("u9", id) in [(info.user_id, info.id) for info in asked]

    run_main(main)


DYING = """
import sys, time
from libsse import sync
hub = sync.Hub(sys.argv[1], lease_ms=3000)
stream = hub.create(user_id="u9")
stream.send("x")
print(stream.id, flush=True)
time.sleep(600)
"""


def test_a_store_that_is_away() -> None:
    async def main() -> None:
        async with Hub("redis://127.0.0.1:1", start_ms=50, command_ms=200) as hub:
            await until(lambda: "127.0.0.1:1" in hub.store_error())
            for call in (hub.create("a", shared=True), hub.open("b"), hub.streams()):
                with pytest.raises(libsse.StoreUnavailable, match=": 127.0.0.1:1: "):
                    await call
            stream = await hub.create("here", producer=words)
            assert len(await events_of(hub, stream.id)) == 21

    run_main(main)


def test_the_loop_goes_on_while_a_store_is_waited_for(slowly: Any) -> None:
    async def main() -> None:
        async with Hub("redis://127.0.0.1:1", start_ms=50, command_ms=200) as hub:

            async def create() -> None:
                with pytest.raises(libsse.StoreUnavailable):
                    await hub.create(shared=True)

            within, go_on = slowly("sse_stream_new")
            async with beside() as begin:
                created = begin(create)
                await until(within.is_set)
                for _ in range(20):
                    await anyio.sleep(0.001)
                assert not created.done
                go_on.set()

    run_main(main)


@pytest.mark.parametrize("ending", ["", "hub.close()", "reader = hub.subscribe('s')"])
def test_the_store_has_all_when_a_program_ends(url: str, ending: str) -> None:
    """Whatever a program leaves open."""
    program = f"""
from libsse import sync
hub = sync.Hub({url!r})
stream = hub.create("s")
for n in range(2000):
    stream.send(n)
stream.complete()
{ending}
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=WAIT_S)

    async def main() -> None:
        async with Hub(url) as hub:
            events = await events_of(hub, "s")
            assert [event.data for event in events] == [*map(str, range(2000)), "{}"]

    run_main(main)


def test_the_log_says_when_the_store_is_away(caplog: pytest.LogCaptureFixture) -> None:
    def said() -> list[str]:
        return [record.getMessage() for record in logged(caplog)]

    port = free_port()
    command = ["redis-server", "--port", str(port), "--save", "", "--bind", "127.0.0.1"]

    async def main() -> None:
        hub = Hub(f"redis://127.0.0.1:{port}", start_ms=1)
        async with hub.lifespan():
            await until(lambda: len(said()) == 1)
            server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
            try:
                await until(lambda: len(said()) == 2)
            finally:
                server.kill()
                server.wait()

    run_main(main)
    assert said()[0].startswith("the store cannot be reached: ")
    assert said()[1] == "the store is reached again"
