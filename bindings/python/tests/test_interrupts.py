"""A signal's handler may raise an exception between any two bytecodes. Whoever then
iterates on gets every event, and none twice."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import signal
import sys
import threading
from collections.abc import Callable, Coroutine, Generator, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from helpers import serving

import libsse
from libsse import Client, ClientError, Hub, _core, client, sync
from libsse.asgi import Application

LIBRARY = str(Path(libsse.__file__).parent)
WAIT_S = 30  # so that a test fails instead of hanging


class Interrupt(BaseException):
    """As KeyboardInterrupt."""


class Before:
    """Raises before the n-th bytecode of libsse's own that this thread runs. Or calls
    something there, as a signal's handler does, and a finalizer."""

    def __init__(self, n: int) -> None:
        self.left = n
        self.happened = False
        self.call: Callable[[], Any] | None = None

    def __enter__(self) -> Before:
        sys.settrace(self._call)
        return self

    def __exit__(self, kind: object, *_: object) -> bool:
        sys.settrace(None)
        return kind is Interrupt

    def _call(self, frame: FrameType, event: str, arg: Any) -> Any:
        if not frame.f_code.co_filename.startswith(LIBRARY):
            return None
        frame.f_trace_opcodes = True
        frame.f_trace_lines = False
        return self._step

    def _step(self, frame: FrameType, event: str, arg: Any) -> Any:
        if event == "opcode":
            self.left -= 1
            if self.left < 0 and not self.happened:
                self.happened = True
                if self.call is None:
                    raise Interrupt
                self.call()
        return self._step


@contextlib.contextmanager
def handled(number: int, handle: Callable[..., None]) -> Iterator[None]:
    before = signal.signal(number, handle)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(number, before)


def each_bytecode(run: Callable[[Before], None], at_least: int) -> None:
    """Runs it with an interruption before the first bytecode, the second, and so on,
    until it is through before it happens."""
    for n in itertools.count():
        before = Before(n)
        run(before)
        if n >= at_least and not before.happened:
            return


SENT = [f"{n} {'x' * 30000}" for n in range(7)]  # more than one batch


def written(hub: sync.Hub, later: int = 0) -> threading.Thread:
    """A stream, whose last events a thread sends: what is read is waited for, too."""
    stream = hub.create("s")

    def write(data: list[str]) -> None:
        for text in data:
            stream.send(text)

    def write_the_rest() -> None:
        write(SENT[len(SENT) - later :])
        stream.complete("end")

    write(SENT[: len(SENT) - later])
    thread = threading.Thread(target=write_the_rest)
    thread.start()
    return thread


def read(reader: Any, got: list[Any]) -> None:
    for event in reader:
        got.append(event)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """Of a stream that has ended."""
    hub = Hub()
    stream = hub.sync.create("s")
    for n in range(3):
        stream.send(str(n))
    stream.complete("end")
    with serving(Application(hub)) as base:
        yield f"{base}/api/stream/s"


class TestReader:
    def test_it_goes_on(self) -> None:
        def run(before: Before) -> None:
            got: list[Any] = []
            with sync.Hub() as hub:
                thread = written(hub, 3)
                reader = hub.subscribe("s")
                with before:
                    read(reader, got)
                read(reader, got)
                thread.join()
            assert [event.data for event in got] == [*SENT, "end"]
            assert reader.reason == "ended"

        each_bytecode(run, 100)

    def test_bytes(self) -> None:
        with sync.Hub() as hub:
            written(hub).join()
            whole = b"".join(hub.subscribe("s", raw=True))

            def run(before: Before) -> None:
                got: list[bytes] = []
                reader = hub.subscribe("s", raw=True)
                with before:
                    read(reader, got)
                read(reader, got)
                assert b"".join(got) == whole

            each_bytecode(run, 100)

    def test_another_thread_goes_on(self) -> None:
        """It may wait in the same reader, and nobody comes back to wake it."""

        def run(before: Before) -> None:
            mine: list[Any] = []
            others: list[Any] = []
            with sync.Hub() as hub:
                thread = written(hub, 3)
                reader = hub.subscribe("s")
                other = threading.Thread(target=read, args=(reader, others))
                other.start()
                with before:
                    read(reader, mine)
                other.join(WAIT_S)
                assert not other.is_alive()
                thread.join()
            got = [event.data for event in mine + others]
            assert sorted(got) == sorted([*SENT, "end"])

        each_bytecode(run, 200)

    def test_close_while_a_thread_waits(self) -> None:
        def run(before: Before) -> None:
            got: list[Any] = []
            with sync.Hub() as hub:
                hub.create("s")
                reader = hub.subscribe("s")
                other = threading.Thread(target=read, args=(reader, got))
                other.start()
                with before:
                    reader.close()
                if before.happened:
                    reader.close()
                other.join(WAIT_S)
                assert not other.is_alive()
            assert got == [] and reader.reason == "closed"

        each_bytecode(run, 5)

    def test_close_of_the_hub(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Whoever is interrupted in it closes again: the store gets all, too."""
        flush = _core.sse_hub_flush
        flushed: list[int] = []

        def note_flush(hub: Any, timeout_ms: int) -> None:
            flush(hub, timeout_ms)
            flushed.append(timeout_ms)

        monkeypatch.setattr(_core, "sse_hub_flush", note_flush)

        def run(before: Before) -> None:
            got: list[Any] = []
            flushed.clear()
            hub = sync.Hub()
            stream = hub.create("s")
            reader = hub.subscribe("s")
            other = threading.Thread(target=read, args=(reader, got))
            other.start()
            with before:
                hub.close()
            if before.happened:
                hub.close()
            other.join(WAIT_S)
            assert not other.is_alive() and got == []
            assert not hub.core.is_open and flushed != []
            with pytest.raises(libsse.HubClosed):
                stream.send("a")

        each_bytecode(run, 50)

    def test_a_first_use(self) -> None:
        """Nobody waits for who was interrupted in it."""

        def run(before: Before) -> None:
            with sync.Hub() as hub:
                with before:
                    hub.create("s")
                other = threading.Thread(target=hub.metrics)
                other.start()
                other.join(WAIT_S)
                assert not other.is_alive()

        each_bytecode(run, 50)

    @pytest.mark.parametrize("name", ["metrics", "close", "create"])
    def test_a_handler_in_a_first_use(self, name: str) -> None:
        """Nor for himself."""

        def run(before: Before) -> None:
            with sync.Hub() as hub:
                before.call = getattr(hub, name)
                other = threading.Thread(target=use, args=(hub, before), daemon=True)
                other.start()
                other.join(WAIT_S)
                assert not other.is_alive()

        def use(hub: sync.Hub, before: Before) -> None:
            with contextlib.suppress(libsse.HubClosed), before:
                hub.create("s")

        each_bytecode(run, 50)

    def test_a_first_client(self) -> None:
        def run(before: Before) -> None:
            client._network.clear()
            with before:
                Client("http://127.0.0.1:9/")
            other = threading.Thread(target=Client, args=("http://127.0.0.1:9/",))
            other.start()
            other.join(WAIT_S)
            assert not other.is_alive()

        each_bytecode(run, 50)

    def test_a_handler_that_reads(self) -> None:
        """From the reader that it has interrupted."""
        got: list[Any] = []

        def handle(*_: object) -> None:
            stream.send("a")
            got.append(next(reader).data)
            stream.send("b")

        with sync.Hub() as hub:
            stream = hub.create("s")
            reader = hub.subscribe("s")
            with handled(signal.SIGUSR1, handle):
                args = (threading.get_ident(), signal.SIGUSR1)
                threading.Timer(0.05, signal.pthread_kill, args).start()
                got.append(next(reader).data)
        assert got == ["a", "b"]

    # In the callback of a weak reference, Python drops what is raised.
    @pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
    @pytest.mark.skipif(
        sys.version_info < (3, 10), reason="it looks for signals behind FOR_ITER"
    )
    def test_signals(self) -> None:
        """Real ones, that come while the thread computes."""
        sent = [str(n) for n in range(20000)]
        reading: list[bool] = []
        interrupted = 0

        def handle(*_: object) -> None:
            if reading:
                reading.clear()
                raise Interrupt

        with sync.Hub(log_events=len(sent) + 1) as hub, handled(signal.SIGPROF, handle):
            stream = hub.create("s")
            stream.send_many(sent)
            stream.complete("end")
            while interrupted < 20:
                got: list[Any] = []
                reader = hub.subscribe("s")
                signal.setitimer(signal.ITIMER_PROF, 0.0005, 0.0005)
                while reader.reason is None or reader._ready:
                    try:
                        reading.append(True)
                        read(reader, got)
                        reading.clear()
                    except Interrupt:
                        interrupted += 1
                signal.setitimer(signal.ITIMER_PROF, 0)
                assert [event.data for event in got] == [*sent, "end"]


class Cancelling:
    """A coroutine, in a task that is cancelled when it waits for the n-th time."""

    def __init__(self, work: Coroutine[Any, Any, None], n: int) -> None:
        self.work = work
        self.left = n
        self.happened = False

    def __await__(self) -> Generator[Any, None, None]:
        inner = self.work.__await__()
        step: Callable[[], Any] = functools.partial(next, inner)
        while True:
            try:
                awaited = step()
            except StopIteration:
                return
            if self.left == 0:
                task = asyncio.current_task()
                assert task is not None
                asyncio.get_running_loop().call_soon(task.cancel)
            self.left -= 1
            try:
                yield awaited
                step = functools.partial(next, inner)
            except asyncio.CancelledError as error:
                self.happened = True
                step = functools.partial(inner.throw, error)

    async def run(self) -> None:
        await self


async def each_await(run: Callable[[int], Coroutine[Any, Any, bool]]) -> None:
    for n in itertools.count():
        if not await run(n):
            assert n > 1
            return


async def read_async(reader: Any, got: list[Any]) -> None:
    async for event in reader:
        got.append(event)


async def cancelled(reader: Any, n: int, got: list[Any]) -> bool:
    """Reads it, is cancelled when it waits for the n-th time, and goes on."""
    cancelling = Cancelling(read_async(reader, got), n)
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.create_task(cancelling.run())
    await asyncio.wait_for(read_async(reader, got), WAIT_S)
    return cancelling.happened


class TestCancellation:
    """asyncio makes one of Ctrl-C."""

    @pytest.mark.parametrize("policy", ["gap", "block"])  # the latter has threads
    def test_a_reader(self, policy: Any) -> None:
        async def run(n: int) -> bool:
            got: list[Any] = []

            async def write() -> None:
                for data in "abc":
                    await stream.send(data)
                    await asyncio.sleep(0.002)
                await stream.complete("end")

            async with Hub(slow_policy=policy) as hub:
                stream = await hub.create("s")
                writing = asyncio.create_task(write())
                happened = await cancelled(hub.subscribe("s"), n, got)
                await writing
            assert [event.data for event in got] == ["a", "b", "c", "end"]
            return happened

        asyncio.run(each_await(run))

    def test_who_creates_a_stream(self) -> None:
        """There is none that nobody writes."""

        async def main() -> None:
            async with Hub(slow_policy="block") as hub:
                creating = asyncio.create_task(
                    hub.create("s", producer=lambda: list("ab"))
                )
                await asyncio.sleep(0)
                creating.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await creating
                while not await hub.streams():
                    await asyncio.sleep(0.005)
                got: list[Any] = []
                await asyncio.wait_for(read_async(hub.subscribe("s"), got), WAIT_S)
                assert [event.data for event in got] == ["a", "b", "{}"]

        asyncio.run(main())

    def test_what_cannot_be_opened_says_so_again(self) -> None:
        async def main() -> None:
            async with Hub(max_subscribers=1) as hub:
                await hub.create("s")
                async with hub.subscribe("s"):
                    second = hub.subscribe("s")
                    for _ in range(2):
                        with pytest.raises(libsse.LimitExceeded):
                            await second.__anext__()

        asyncio.run(main())

    def test_a_client(self, url: str) -> None:
        async def token(status: int) -> str:
            await asyncio.sleep(0)
            return "secret"

        async def run(n: int) -> bool:
            got: list[Any] = []
            happened = await cancelled(Client(url, token=token), n, got)
            assert [event.data for event in got] == ["0", "1", "2", "end"]
            return happened

        asyncio.run(each_await(run))


class TestClient:
    def test_it_goes_on(self, url: str) -> None:
        def run(before: Before) -> None:
            got: list[Any] = []
            client = Client(url)
            with before:
                read(client, got)
            read(client, got)
            assert [event.data for event in got] == ["0", "1", "2", "end"]

        each_bytecode(run, 100)

    def test_news(self, url: str) -> None:
        def run(before: Before) -> None:
            got: list[Any] = []
            client = Client(url)
            with before:
                read(client.news(), got)
            read(client.news(), got)
            kinds = [news.kind for news in got]
            assert kinds.count("event") == 4
            assert kinds.count("end") == 1 and kinds[-1] == "end"

        each_bytecode(run, 100)

    def test_a_question_is_asked_again(self, url: str) -> None:
        def run(before: Before) -> None:
            got: list[Any] = []
            client = Client(url, token=lambda status: "secret")
            with before:
                read(client, got)
            read(client, got)
            assert [event.data for event in got] == ["0", "1", "2", "end"]

        each_bytecode(run, 100)

    def test_a_question_whose_answer_fails(self, url: str) -> None:
        """It is asked again of who comes back: the client waits for an answer."""
        asked = 0

        def token(status: int) -> str:
            nonlocal asked
            asked += 1
            if asked == 1:
                raise OSError("the network is away")
            return "secret"

        client = Client(url, token=token)
        with pytest.raises(OSError):
            list(client)
        assert len(list(client)) == 4

    def test_a_loss_is_told_to_all(self, url: str) -> None:
        """Also to who was interrupted when it was told."""

        def run(before: Before) -> None:
            client = Client(f"{url}-nobody")
            with before, pytest.raises(ClientError, match="404"):
                list(client)
            with pytest.raises(ClientError, match="404"):
                list(client)

        each_bytecode(run, 50)
