"""What produces a stream: run once, stopped by a stop and by nothing else."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import anyio
import pytest
from helpers import WAIT_S, beside, events_of, logged, run, run_main, until

from libsse import Event, Hub, Stream, StreamEnded


pytestmark = pytest.mark.usefixtures("loops")


async def texts(hub: Hub, id: str) -> list[tuple[str, str]]:
    return [(event.type, event.data) for event in await events_of(hub, id)]


DONE = ("completed", "{}")


async def words() -> AsyncIterator[Any]:
    yield "a"
    await anyio.sleep(0)
    yield {"b": 1}
    yield Event("c", "token")


def plain_words() -> Iterator[Any]:
    yield "a"
    yield {"b": 1}
    yield Event("c", "token")


async def sends(stream: Stream) -> None:
    await stream.send("a")
    await stream.send({"b": 1})
    await stream.send("c", "token")


async def gives_words() -> AsyncIterator[Any]:
    return words()


EXPECTED = [("message", "a"), ("message", '{"b":1}'), ("token", "c"), DONE]


class TestKinds:
    @pytest.mark.parametrize(
        "producer",
        [
            words,
            plain_words,
            sends,
            gives_words,
            lambda: words(),
            lambda: plain_words(),
            lambda stream: sends(stream),
            lambda: ["a", {"b": 1}, Event("c", "token")],
        ],
    )
    def test_kind(self, producer: Any) -> None:
        async def test(hub: Hub) -> None:
            await hub.create("s", producer=producer)
            assert await texts(hub, "s") == EXPECTED

        run(test)

    @pytest.mark.parametrize("name", ["aclose", "close"])
    def test_what_is_read_is_closed(self, name: str) -> None:
        """As the answers of the clients of language models want it: behind the last
        piece, and at a stop, which is to cost nothing more."""

        class Answer:
            def __init__(self, count: int) -> None:
                self.left = count
                self.closed = 0
                setattr(self, name, self.end)

            async def end(self) -> None:
                self.closed += 1

            def __aiter__(self) -> Answer:
                return self

            async def __anext__(self) -> str:
                if self.left == 0:
                    raise StopAsyncIteration
                self.left -= 1
                await anyio.sleep(0 if self.left else WAIT_S)
                return "a"

        async def test(hub: Hub) -> None:
            whole, stopped = Answer(0), Answer(2)
            await hub.create("whole", producer=lambda: whole)
            assert await texts(hub, "whole") == [DONE]
            await hub.create("stopped", producer=lambda: stopped)
            async for event in hub.subscribe("stopped"):
                if event.type == "message":
                    await hub.stop("stopped")
            assert (whole.closed, stopped.closed) == (1, 1)

        run(test)

    def test_one_that_ends_its_stream_itself(self) -> None:
        async def producer(stream: Stream) -> AsyncIterator[str]:
            yield "a"
            await stream.complete({"total": 1}, "done")

        async def test(hub: Hub) -> None:
            await hub.create("s", producer=producer)
            assert await texts(hub, "s") == [("message", "a"), ("done", '{"total":1}')]
            assert (await hub.info("s")).state == "completed"

        run(test)

    def test_a_generator_has_a_thread_of_its_own(self) -> None:
        """Were it run in the loop, this could not end."""
        go = threading.Event()
        name = contextvars.ContextVar("name", default="")

        def producer() -> Iterator[str]:
            yield threading.current_thread().name
            assert go.wait(20)
            yield name.get()

        async def test(hub: Hub) -> None:
            name.set("kept")
            await hub.create("s", producer=producer)
            async with hub.subscribe("s") as reader:
                assert (await reader.__anext__()).data == "libsse s"
                go.set()
                assert (await reader.__anext__()).data == "kept"

        run(test)

    @pytest.mark.parametrize("producer", [words(), plain_words(), 5, "text"])
    def test_what_is_no_function(self, producer: Any) -> None:
        async def test(hub: Hub) -> None:
            with pytest.raises(TypeError, match="a producer is a function"):
                await hub.create("s", producer=producer)
            assert await hub.streams() == []

        run(test)

    @pytest.mark.parametrize("producer", [lambda: 5, lambda: "text", lambda: None])
    def test_what_gives_nothing_of_use(self, producer: Any) -> None:
        async def test(hub: Hub) -> None:
            await hub.create("s", producer=producer)
            ((type, data),) = await texts(hub, "s")
            assert type == "failed" and "async generator" in data

        run(test, expose_errors=True)


class Endless:
    """A producer that notes how it ends."""

    def __init__(self) -> None:
        self.ended: list[str] = []
        self.runs = 0

    async def __call__(self) -> AsyncIterator[str]:
        self.runs += 1
        try:
            while True:
                yield "tick"
                await anyio.sleep(0.001)
        except anyio.get_cancelled_exc_class():
            self.ended.append("cancelled")
            raise
        finally:
            self.ended.append("finally")


class TestStop:
    def test_stop(self) -> None:
        async def test(hub: Hub) -> None:
            producer = Endless()
            await hub.create("s", producer=lambda: producer())
            async with hub.subscribe("s") as reader:
                await reader.__anext__()
                await hub.stop("s")
                *_, last = [event async for event in reader]
            assert (last.type, last.data) == ("cancelled", '{"reason":"stop"}')
            await until(lambda: not hub._producers)
            assert producer.ended == ["cancelled", "finally"]
            assert (await hub.info("s")).state == "cancelled"

        run(test)

    def test_one_that_never_waits(self) -> None:
        """The stop hits it where it sends."""

        async def busy() -> AsyncIterator[str]:
            try:
                while True:
                    yield "x"
            except anyio.get_cancelled_exc_class():
                ended.append("cancelled")
                raise
            finally:
                ended.append("finally")

        ended: list[str] = []

        async def test(hub: Hub) -> None:
            await hub.create("s", producer=busy)
            await hub.stop("s")
            await until(lambda: not hub._producers)
            assert ended == ["cancelled", "finally"]
            assert (await hub.info("s")).state == "cancelled"

        run(test)

    def test_at_once(self) -> None:
        async def test(hub: Hub) -> None:
            producer = Endless()
            stream = await hub.create("s", producer=lambda: producer())
            hub.sync.stop("s")
            assert (await texts(hub, "s"))[-1] == ("cancelled", '{"reason":"stop"}')
            assert (await stream.info()).state == "cancelled"

        run(test)

    def test_one_that_keeps_it_to_itself(self) -> None:
        """Who asked for the stop, and who reads, do not see an answer that was cut
        for a whole one."""

        async def quiet() -> AsyncIterator[str]:
            try:
                yield "a"
                await anyio.sleep(WAIT_S)
            except anyio.get_cancelled_exc_class():
                return

        async def says_more(stream: Stream) -> None:
            try:
                await stream.send("a")
                await anyio.sleep(WAIT_S)
            except anyio.get_cancelled_exc_class():
                await stream.complete({"tokens": 1})

        async def test(hub: Hub) -> None:
            for producer in (quiet, says_more):
                await hub.create(producer.__name__, producer=producer)
                async with hub.subscribe(producer.__name__) as reader:
                    await reader.__anext__()
                    await hub.stop(producer.__name__)
                    (last,) = [event async for event in reader]
                    ends.append((last.type, last.data))

        ends: list[tuple[str, str]] = []
        run(test)
        assert ends == [
            ("cancelled", '{"reason":"stop"}'),
            ("completed", '{"tokens":1}'),
        ]

    def test_a_generator_in_its_thread(self) -> None:
        ended = threading.Event()

        def producer() -> Iterator[str]:
            try:
                while True:
                    yield "x"
            finally:
                ended.set()

        async def test(hub: Hub) -> None:
            await hub.create("s", producer=producer)
            async with hub.subscribe("s") as reader:
                await reader.__anext__()
                await hub.stop("s")
                *_, last = [event async for event in reader]
            assert last.type == "cancelled"
            await until(ended.is_set)

        run(test)

    def test_one_that_will_not_stop_is_ended_by_the_hub(self) -> None:
        errors: list[BaseException] = []

        async def stubborn(stream: Stream) -> None:
            while True:
                try:
                    await stream.send("still here")
                    await anyio.sleep(0.001)
                except anyio.get_cancelled_exc_class():
                    pass
                except StreamEnded as error:
                    errors.append(error)
                    raise

        async def test(hub: Hub) -> None:
            await hub.create("s", producer=stubborn)
            await hub.stop("s")
            *_, last = await texts(hub, "s")
            assert last == ("cancelled", '{"reason":"stop"}')
            await until(lambda: not hub._producers)
            assert len(errors) == 1

        run(test, stop_grace_ms=100)

    def test_a_reader_that_goes_away_stops_nothing(self) -> None:
        async def test(hub: Hub) -> None:
            producer = Endless()
            await hub.create("s", producer=lambda: producer())
            for _ in range(5):
                async with hub.subscribe("s") as reader:
                    first = await reader.__anext__()
                    assert first.id.startswith("1-")
            before = (await hub.info("s")).last_seq
            while (await hub.info("s")).last_seq < before + 20:
                await anyio.sleep(0.001)
            assert producer.ended == []
            await hub.stop("s")

        run(test)

    def test_one_that_nobody_reads_where_it_is_set_so(self) -> None:
        async def test(hub: Hub) -> None:
            producer = Endless()
            await hub.create(
                "s",
                producer=lambda: producer(),
                unread_policy="cancel_after",
                unread_ms=50,
            )
            await until(lambda: producer.ended == ["cancelled", "finally"])
            await until(lambda: not hub._producers)
            found = await hub.recover("s")
            assert found.terminal_event is not None
            assert found.terminal_event.json() == {"reason": "unread"}

        run(test)

    def test_the_end_of_the_hub(self) -> None:
        async def main() -> None:
            producer = Endless()
            hub = Hub()
            stream = await hub.create("s", producer=lambda: producer())
            async with beside() as begin:
                readers = [begin(events_of, hub, "s") for _ in range(500)]
                while (await stream.info()).last_seq < 3:
                    await anyio.sleep(0.001)
                await hub.aclose()
            for reader in readers:
                *_, last = await reader.result()
                assert last.json() == {"reason": "shutdown"}
            assert producer.ended == ["cancelled", "finally"]

        run_main(main)


class Unspeakable:
    def __repr__(self) -> str:
        raise ValueError("no words")


class TestFailure:
    @pytest.mark.parametrize("exposed", [True, False])
    @pytest.mark.parametrize("kind", ["async", "thread", "coroutine", "call"])
    def test_failed(
        self, kind: str, exposed: bool, caplog: pytest.LogCaptureFixture
    ) -> None:
        async def one() -> AsyncIterator[str]:
            yield "a"
            raise OSError("the secret")

        def two() -> Iterator[str]:
            yield "a"
            raise OSError("the secret")

        async def three(stream: Stream) -> None:
            await stream.send("a")
            raise OSError("the secret")

        def four() -> Any:
            raise OSError("the secret")

        kinds = {"async": one, "thread": two, "coroutine": three, "call": four}

        async def test(hub: Hub) -> None:
            await hub.create("s", producer=kinds[kind])
            *rest, last = await events_of(hub, "s")
            assert len(rest) == (0 if kind == "call" else 1)
            assert last.type == "failed"
            assert last.json() == {
                "error": "producer_failed",
                "message": "the secret" if exposed else "The producer failed.",
            }
            assert (await hub.info("s")).state == "failed"

        with caplog.at_level(logging.ERROR, "libsse"):
            run(test, expose_errors=exposed)
        (record,) = logged(caplog)
        assert record.exc_info and "the secret" in str(record.exc_info[1])

    @pytest.mark.parametrize(
        "message",
        ["\ud800", "x" * (2 << 20), Unspeakable()],
        ids=["half a pair", "too large", "none"],
    )
    def test_a_message_that_cannot_be_sent(
        self, message: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # What runs the tests in parallel cannot pass such a log on.
        monkeypatch.setattr(logging.getLogger("libsse"), "disabled", True)

        async def producer() -> AsyncIterator[str]:
            yield "a"
            raise OSError(message)

        async def test(hub: Hub) -> None:
            await hub.create("s", producer=producer)
            *_, last = await events_of(hub, "s")
            assert last.type == "failed"
            assert last.json()["message"] == "The producer failed."

        run(test, expose_errors=True)

    @pytest.mark.parametrize("max_event_bytes", [40, 10])
    def test_a_failure_where_events_are_small(self, max_event_bytes: int) -> None:
        def producer() -> Any:
            raise OSError

        async def test(hub: Hub) -> None:
            await hub.create("s", producer=producer)
            assert await texts(hub, "s") == [("failed", "{}")]

        run(test, max_event_bytes=max_event_bytes)

    @pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt, GeneratorExit])
    def test_a_thread_that_exits(
        self, kind: type[BaseException], caplog: pytest.LogCaptureFixture
    ) -> None:
        """The loop, and the server that runs in it, go on."""

        def producer() -> Iterator[str]:
            yield "a"
            raise kind

        async def test(hub: Hub) -> None:
            await hub.create("s", producer=producer)
            *_, last = await texts(hub, "s")
            assert last[0] == "failed"

        run(test)
        (record,) = logged(caplog)
        assert record.exc_info and kind.__name__ in str(record.exc_info[1])

    @pytest.mark.parametrize("kind", ["alone", "in a group"])
    def test_what_is_no_exception(
        self, kind: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        """As the panic of an extension in Rust is none."""

        class Panic(BaseException):
            pass

        async def producer() -> AsyncIterator[str]:
            yield "a"
            async with contextlib.AsyncExitStack() as stack:
                if kind == "in a group":
                    await stack.enter_async_context(anyio.create_task_group())
                raise Panic("the secret")

        async def test(hub: Hub) -> None:
            await hub.create("s", producer=producer)
            *_, last = await texts(hub, "s")
            assert last[0] == "failed"

        run(test)
        (record,) = logged(caplog)
        assert record.exc_info and isinstance(record.exc_info[1], BaseException)

    def test_data_that_cannot_be_sent(self) -> None:
        async def producer() -> AsyncIterator[Any]:
            yield "a"
            yield object()

        async def test(hub: Hub) -> None:
            await hub.create("s", producer=producer)
            *_, last = await texts(hub, "s")
            assert last[0] == "failed"

        run(test)

    def test_generator_exit_and_stop_iteration(self) -> None:
        def stops() -> Iterator[str]:
            yield "a"
            next(iter([]))

        async def test(hub: Hub) -> None:
            await hub.create("s", producer=stops)
            *_, last = await texts(hub, "s")
            assert last[0] == "failed"

        run(test)


@pytest.mark.skipif(sys.version_info < (3, 11), reason="nothing tells it before")
def test_a_cancellation_of_its_own() -> None:
    """Of what it waited for, with nobody stopping the producer."""

    async def main() -> None:
        async def producer() -> AsyncIterator[str]:
            yield "a"
            raise asyncio.CancelledError

        async with Hub() as hub:
            await hub.create("s", producer=producer)
            *_, last = await texts(hub, "s")
            assert last[0] == "failed"

    asyncio.run(asyncio.wait_for(main(), WAIT_S))


class TestOnce:
    def test_asked_twice_at_once(self) -> None:
        async def test(hub: Hub) -> None:
            producer = Endless()

            async def ask() -> str:
                return (await hub.create_or_open("s", lambda: producer())).id

            async with beside() as begin:
                asked = [begin(ask) for _ in range(20)]
            assert {await one.result() for one in asked} == {"s"}
            await until(lambda: producer.runs == 1)
            await hub.stop("s")
            await events_of(hub, "s")
            await hub.create_or_open("s", lambda: producer())
            assert producer.runs == 1  # the ended stream is still kept

        run(test)

    def test_who_asked_may_go_away_meanwhile(self) -> None:
        async def test(hub: Hub) -> None:
            with anyio.CancelScope() as scope:
                scope.cancel()
                await hub.create_or_open("s", words)
            assert scope.cancelled_caught
            await until(lambda: bool(hub.sync.streams()))
            assert await texts(hub, "s") == EXPECTED

        run(test)
