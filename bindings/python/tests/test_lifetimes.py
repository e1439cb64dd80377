"""Nothing that a program does here can crash the interpreter: use after close,
collection in every order, threads."""

from __future__ import annotations

import asyncio
import gc
import itertools
import sys
import threading
import time
from typing import Any

import anyio
import pytest
from helpers import beside, events_of, run, run_main, until

import libsse
from libsse import Hub, _core, sync


async def ended(hub: Hub) -> None:
    """Returns when the hub has told all that its server ends."""
    hub.begin_shutdown()
    assert hub._shutting is not None
    await hub._shutting.wait()


class TestClose:
    def test_use_after_close(self) -> None:
        hub = sync.Hub()
        stream = hub.create("s")
        reader = hub.subscribe("s")
        hub.close()
        hub.close()
        for call in (
            lambda: stream.send("x"),
            lambda: stream.send_many(["x"]),
            stream.complete,
            stream.info,
            lambda: hub.create("t"),
            lambda: hub.open("s"),
            lambda: hub.stop("s"),
            lambda: hub.remove("s"),
            hub.streams,
            hub.metrics,
            hub.store_error,
            lambda: hub.subscribe("s"),
        ):
            with pytest.raises(libsse.HubClosed):
                call()
        assert list(reader) == []
        reader.close()

    def test_use_after_close_in_a_loop(self) -> None:
        async def main() -> None:
            hub = Hub()
            stream = await hub.create("s")
            reader = hub.subscribe("s")
            await reader.open()
            await hub.aclose()
            await hub.aclose()
            for call in (
                stream.send("x"),
                hub.create("t"),
                hub.stop("s"),
                stream.info(),
            ):
                with pytest.raises(libsse.HubClosed):
                    await call
            assert [event async for event in reader] == []
            with pytest.raises(libsse.HubClosed):
                await hub.subscribe("s").__anext__()

        asyncio.run(main())

    def test_close_while_a_thread_waits(self) -> None:
        hub = sync.Hub()
        hub.create("s")
        reader = hub.subscribe("s")
        got: list[Any] = []
        thread = threading.Thread(target=lambda: got.append(list(reader)))
        thread.start()
        reader.close()
        thread.join(20)
        assert got == [[]] and reader.reason == "closed"

    def test_close_during_iteration(self) -> None:
        async def test(hub: Hub) -> None:
            stream = await hub.create("s")
            for n in range(10):
                await stream.send(n)
            reader = hub.subscribe("s")
            got = []
            async for event in reader:
                got.append(event.data)
                if len(got) == 3:
                    reader.close()
            assert got == ["0", "1", "2"]

        run(test)

    def test_closed_by_a_thread(self) -> None:
        """What goes on in loops ends, too, and leaves nothing behind."""

        async def produce(stream: libsse.Stream) -> None:
            await anyio.sleep_forever()

        async def test(hub: Hub) -> None:
            await hub.create("s", producer=produce)
            door = hub._doors.here()
            async with beside() as begin:
                reading = begin(events_of, hub, "s")
                await until(lambda: hub.sync.info("s").subscribers == 1)
                await anyio.to_thread.run_sync(hub.sync.close)
                await reading.result()
            await until(lambda: not hub._producers)
            await until(lambda: door.is_closed)

        run(test)

    def test_a_door_of_another_loop_closes_with_the_hub(self) -> None:
        hub = Hub()
        doors: list[Any] = []
        closed = threading.Event()

        async def other() -> None:
            await hub.create("s")
            async with hub.subscribe("s"):
                doors.append(hub._doors.here())
                while not closed.is_set():
                    await anyio.sleep(0.005)
            await until(lambda: bool(doors[0].is_closed))

        async def main() -> None:
            await until(lambda: bool(doors))
            await hub.aclose()
            closed.set()

        thread = threading.Thread(target=run_main, args=(other,))
        thread.start()
        run_main(main)
        thread.join()
        assert doors[0].queue is None

    def test_a_reader_that_opens_while_the_hub_ends(self, slowly: Any) -> None:
        async def main() -> None:
            hub = Hub(slow_policy="block")
            await hub.create("s")
            within, go_on = slowly("sse_subscriber_new")
            async with beside() as begin:
                reading = begin(events_of, hub, "s")
                await until(within.is_set)
                await ended(hub)
                go_on.set()
                assert await reading.result() == []
            # The thread that opened it may hold it for a moment more.
            await until(lambda: hub.sync.info("s").subscribers == 0)
            await hub.aclose()

        run_main(main)

    def test_a_producer_that_begins_while_the_hub_ends(self, slowly: Any) -> None:
        async def produce(stream: libsse.Stream) -> None:
            await anyio.sleep_forever()

        async def main() -> None:
            hub = Hub(slow_policy="block")
            within, go_on = slowly("sse_stream_new")
            async with beside() as begin:
                begin(hub.create_or_open, "s", produce)
                await until(within.is_set)
                await ended(hub)
                go_on.set()
            (event,) = hub.sync.look("s")
            assert (event.type, event.json()) == ("cancelled", {"reason": "shutdown"})
            await hub.aclose()

        run_main(main)

    def test_who_asked_is_gone_when_it_fails(self, slowly: Any) -> None:
        """asyncio is not made to complain that nobody has seen it."""

        async def main() -> None:
            unhappy: list[Any] = []
            loop = asyncio.get_running_loop()
            loop.set_exception_handler(lambda _, context: unhappy.append(context))
            hub = Hub(slow_policy="block")
            within, go_on = slowly("sse_stream_open")
            asking = asyncio.ensure_future(hub.create_or_open("s", list))
            await until(within.is_set)
            asking.cancel()
            hub.begin_shutdown()
            await asyncio.wait([asking])
            go_on.set()
            await until(lambda: not hub._starting)
            await hub.aclose()
            del asking
            gc.collect()
            assert unhappy == []

        run_main(main)

    def test_closed_by_two_loops_at_once(self) -> None:
        """Both return when it has ended, also when the first that began is no more."""

        async def produce(stream: libsse.Stream) -> None:
            try:
                await anyio.sleep_forever()
            finally:
                with anyio.CancelScope(shield=True):
                    await until(other_closes.is_set)

        async def main() -> None:
            await hub.create("s", producer=produce)
            hub.begin_shutdown()
            thread.start()
            await hub.aclose()

        async def begin() -> None:
            await hub.create("s", producer=produce)
            hub.begin_shutdown()

        def close() -> None:
            other_closes.set()
            closed.append(run_main(hub.aclose))

        closed: list[None] = []
        other_closes = threading.Event()
        hub = Hub()
        thread = threading.Thread(target=close)
        run_main(main)
        thread.join()
        hub = Hub()
        run_main(begin)
        close()
        assert closed == [None, None]
        with pytest.raises(libsse.HubClosed):
            hub.metrics()

    def test_a_shutdown_without_a_loop(self) -> None:
        """Is refused, and nothing has begun."""
        hub = Hub()
        with pytest.raises(RuntimeError, match="running event loop"):
            hub.begin_shutdown()
        assert not hub.closing

    def test_a_hub_that_was_never_used(self) -> None:
        async def main() -> None:
            async with Hub("redis://localhost:1"):
                pass

        asyncio.run(main())
        del main
        gc.collect()

    def test_a_second_life(self) -> None:
        """The lifespan of an application is begun anew by each of its tests."""
        hub = Hub()

        async def once() -> None:
            async with hub.lifespan():
                stream = await hub.create("s")
                await stream.complete()
                assert len([e async for e in hub.subscribe("s")]) == 1

        for _ in range(3):
            asyncio.run(once())
        assert not hub._producers

    def test_without_a_loop(self) -> None:
        """In no loop, or one of another kind, it says what to do."""
        step = Hub().create(producer=lambda: [])
        with pytest.raises(RuntimeError, match="use hub.sync"):
            step.send(None)


class TestCollection:
    @pytest.mark.parametrize("order", list(itertools.permutations(range(4))))
    def test_every_order(self, order: tuple[int, ...]) -> None:
        hub = _core.sse_hub_new({})
        queue = _core.sse_queue_new(hub, None)
        stream = _core.sse_stream_new(hub, "s", queue, {"key": 1})
        reader = _core.sse_subscriber_new(stream, queue, "", {"key": 2})
        _core.sse_stream_append(stream, "", "x")
        objects: list[Any] = [hub, queue, stream, reader]
        del hub, queue, stream, reader
        for n in order:
            objects[n] = None
            gc.collect()

    def test_what_is_dropped_without_a_word(self) -> None:
        async def test(hub: Hub) -> None:
            stream = await hub.create("s")
            for n in range(50):
                reader = hub.subscribe("s")
                await reader.open()
                await stream.send(n)
                await reader.__anext__()
                del reader
            gc.collect()
            assert (await stream.info()).subscribers == 0
            assert hub._doors.here().handlers == {}

        run(test)

    def test_cycles(self) -> None:
        async def test(hub: Hub) -> None:
            for n in range(20):
                reader: Any = hub.subscribe((await hub.create()).id)
                await reader.open()
                reader.me = [reader, hub]
                del reader
            gc.collect()
            assert "\nsse_subscribers 0\n" in hub.metrics()

        run(test)

    def test_a_finalizer_that_drains_the_same_queue(self) -> None:
        """In the middle of a drain, as a collection may begin there."""

        class Late:
            def __init__(self) -> None:
                self.me = self

            def __del__(self) -> None:
                _core.sse_queue_drain(queue, 60, inner)

        hub = _core.sse_hub_new({})
        queue = _core.sse_queue_new(hub, None)
        streams = [_core.sse_stream_new(hub, id, None, {}) for id in "ab"]
        for stream, text in zip(streams, "xz"):
            _core.sse_stream_append(stream, "", text * 1000)
        readers = [
            _core.sse_subscriber_new(stream, queue, "", {"key": key})
            for key, stream in enumerate(streams)
            for _ in range(60)
        ]
        outer: list[Any] = []
        inner: list[Any] = []
        thresholds = gc.get_threshold()
        gc.collect()
        Late()
        gc.set_threshold(25, 1000, 1000)
        try:
            _core.sse_queue_drain(queue, 60, outer)
        finally:
            gc.set_threshold(*thresholds)
        gc.collect()
        del readers
        assert {(key, data.count(b"x")) for _, _, key, data in outer} == {(0, 1000)}
        assert {(key, data.count(b"z")) for _, _, key, data in inner} == {(1, 1000)}
        assert len(outer) == len(inner) == 60

    def test_a_hub_that_nobody_closes(self) -> None:
        async def main() -> None:
            hub = Hub()
            await hub.create("s")
            door = hub._doors.here()
            await hub.subscribe("s").open()
            del hub
            while not door.is_closed:
                gc.collect()
                await anyio.sleep(0.005)
            assert door.queue is None

        run_main(main)

    def test_a_loop_that_was_closed_under_it(self) -> None:
        hub = Hub()

        async def leave() -> None:
            stream = await hub.create()
            reader = hub.subscribe(stream.id)
            await reader.open()
            kept.append((stream, reader))

        kept: list[Any] = []
        for _ in range(5):
            asyncio.run(leave())
        assert len(hub._doors._doors) <= 2
        kept.clear()
        gc.collect()
        hub.sync.close()


class TestThreads:
    def test_a_hub_closes_while_others_open_streams(self) -> None:
        def work(hub: sync.Hub) -> None:
            kept: list[Any] = []
            with pytest.raises(libsse.HubClosed):
                while True:
                    kept.append(hub.open("s"))
                    kept[-1].send("x")

        interval = sys.getswitchinterval()
        sys.setswitchinterval(1e-5)
        try:
            for _ in range(30):
                hub = sync.Hub()
                streams = [hub.create() for _ in range(1000)]
                hub.create("s")
                thread = threading.Thread(target=work, args=(hub,))
                thread.start()
                time.sleep(0.001)
                hub.close()
                thread.join(20)
                assert not thread.is_alive()
                del streams
        finally:
            sys.setswitchinterval(interval)

    def test_many_writers_and_readers(self) -> None:
        hub = sync.Hub()
        stream = hub.create("s")
        transcripts: list[list[str]] = []

        def write(name: str) -> None:
            for n in range(300):
                stream.send(f"{name}{n}")

        def read() -> None:
            transcripts.append([event.id for event in hub.subscribe("s")])

        readers = [threading.Thread(target=read) for _ in range(4)]
        writers = [threading.Thread(target=write, args=(c,)) for c in "abcd"]
        for thread in readers + writers:
            thread.start()
        for thread in writers:
            thread.join(60)
        stream.complete()
        for thread in readers:
            thread.join(60)
        assert len(transcripts) == 4
        assert all(ids == transcripts[0] for ids in transcripts)
        assert [int(id.partition("-")[0]) for id in transcripts[0]] == list(
            range(1, 1202)
        )

    def test_several_loops_on_one_hub(self) -> None:
        hub = Hub()
        stream = hub.sync.create("s")
        counts: list[int] = []

        def loop() -> None:
            async def read() -> None:
                counts.append(len([e async for e in hub.subscribe("s")]))

            asyncio.run(read())

        threads = [threading.Thread(target=loop) for _ in range(4)]
        for thread in threads:
            thread.start()
        for n in range(200):
            stream.send(n)
        stream.complete()
        for thread in threads:
            thread.join(60)
        assert counts == [201] * 4

    def test_one_reader_in_two_threads(self) -> None:
        hub = sync.Hub()
        stream = hub.create("s")
        reader = hub.subscribe("s")
        got: list[str] = []

        def read() -> None:
            got.extend(event.data for event in reader)

        threads = [threading.Thread(target=read) for _ in range(2)]
        for thread in threads:
            thread.start()
        for n in range(500):
            stream.send(n)
        stream.complete("end")
        for thread in threads:
            thread.join(60)
        assert sorted(got) == sorted([*map(str, range(500)), "end"])

    def test_a_time_out(self) -> None:
        hub = sync.Hub()
        stream = hub.create("s")
        reader = hub.subscribe("s")
        with pytest.raises(TimeoutError):
            reader.next(0.01)
        stream.send("x")
        event = reader.next(20)
        assert event is not None and event.data == "x"

    @pytest.mark.parametrize("seconds", [float("inf"), 1e9, 10_000_000])
    def test_a_long_time(self, seconds: float) -> None:
        hub = sync.Hub()
        stream = hub.create("s")
        reader = hub.subscribe("s")
        thread = threading.Thread(target=stream.send, args=("x",))
        thread.start()
        event = reader.next(seconds)
        thread.join()
        assert event is not None and event.data == "x"

    def test_a_time_out_among_heartbeats(self) -> None:
        hub = sync.Hub()
        hub.create("s")
        with pytest.raises(TimeoutError):
            hub.subscribe("s", heartbeat_ms=5).next(0.2)
