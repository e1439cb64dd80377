"""What concerns the process as a whole: forks, signals, interpreters, its end, and
what a thousand hubs leave behind. Nothing of it can crash the interpreter."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import subprocess
import sys
import textwrap
import threading
import weakref
from typing import Any

import pytest

from libsse import Hub, sync


def child(source: str) -> subprocess.CompletedProcess[str]:
    """Runs a program; whatever it does, it must not crash."""
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-c", textwrap.dedent(source)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode >= 0, done.stderr
    return done


class TestProcess:
    def test_fork(self) -> None:
        done = child(
            """
            import os
            from libsse import sync, HubForked
            hub = sync.Hub()
            stream = hub.create("s")
            reader = hub.subscribe("s")
            pid = os.fork()
            if pid == 0:
                try:
                    stream.send("x")
                except HubForked as error:
                    print("refused:", error)
                hub.create("s").send("y")      # the hub itself begins anew
                print([e.data for e in [next(hub.subscribe("s"))]])
                os._exit(0)
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
            stream.send("z")
            print(next(reader).data)
            """.replace("os._exit(0)", "import sys; sys.stdout.flush(); os._exit(0)")
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines() == [
            "refused: the object was made before a fork",
            "['y']",
            "z",
        ]

    def test_fork_in_a_loop(self) -> None:
        """The child has no part in what the parent's loop gets."""
        done = child(
            """
            import asyncio, os, sys
            from libsse import Hub
            hub = Hub()
            async def main():
                stream = await hub.create("s")
                reader = hub.subscribe("s")
                await reader.open()
                pid = os.fork()
                if pid == 0:
                    os._exit(0 if hub._doors._doors == {} else 1)
                assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
                for n in range(100):
                    await stream.send(n)
                    assert (await reader.__anext__()).data == str(n)
                await hub.aclose()
            asyncio.run(main())
            """
        )
        assert done.returncode == 0, done.stderr

    def test_the_end_of_the_interpreter(self) -> None:
        done = child(
            """
            import asyncio, threading
            from libsse import Hub, sync
            hub = Hub(heartbeat_ms=10)
            def forever():
                while True:
                    yield "x"
            async def main():
                await hub.create("a", producer=forever)
                reader = hub.subscribe("a")
                await reader.__anext__()
            asyncio.run(main())
            reader = hub.sync.subscribe("a")
            threading.Thread(target=lambda: list(reader), daemon=True).start()
            print("out")
            """
        )
        assert (done.returncode, done.stdout) == (0, "out\n"), done.stderr

    def test_a_signal_during_a_wait(self) -> None:
        hub = sync.Hub()
        hub.create("s")
        reader = hub.subscribe("s")

        class Alarm(Exception):
            pass

        def ring(*_: object) -> None:
            raise Alarm

        before = signal.signal(signal.SIGALRM, ring)
        try:
            with pytest.raises(Alarm):
                signal.setitimer(signal.ITIMER_REAL, 0.05)
                next(reader)
        finally:
            signal.signal(signal.SIGALRM, before)
        hub.open("s").send("x")
        assert next(reader).data == "x"

    @pytest.mark.parametrize("first", ["the main one", "the other"])
    def test_subinterpreters_are_refused(self, first: str) -> None:
        """From any version of Python: mod_wsgi has them by default. The main one
        is as before."""
        done = child(
            f"""
            try:
                import _interpreters as i
            except ImportError:
                import _xxsubinterpreters as i
            if {first == "the main one"}:
                import libsse
            one = i.create()
            source = '''
            try:
                import libsse
                print("imported", flush=True)
            except ImportError as error:
                print("refused", flush=True)
            '''
            import textwrap
            getattr(i, "exec", getattr(i, "run_string", None))(one, textwrap.dedent(source))
            i.destroy(one)
            import libsse
            try:
                libsse.sync.Hub().open("s")
            except libsse.StreamNotFound:
                print("well")
            """
        )
        assert done.stdout == "refused\nwell\n", done.stderr

    def test_signals_are_given_back(self) -> None:
        """In whatever order hubs end, and with those that nobody ends."""
        numbers = (signal.SIGINT, signal.SIGTERM)

        def end(*_: object) -> None: ...

        async def close(first: int) -> None:
            hubs = [Hub(), Hub()]
            for hub in hubs:
                hub.watch_server()
            for hub in hubs[first], hubs[1 - first]:
                await hub.aclose()

        async def leave() -> Any:
            hub = Hub()
            hub.watch_server()
            return weakref.ref(hub)

        def handlers() -> list[Any]:
            return [signal.getsignal(number) for number in numbers]

        before = [signal.signal(number, end) for number in numbers]
        try:
            for first in (0, 1):
                asyncio.run(close(first))
                assert handlers() == [end, end]
            left = [asyncio.run(leave()) for _ in range(5)]
            asyncio.run(close(0))
            gc.collect()
            assert handlers() == [end, end]
            assert [hub() for hub in left] == [None] * 5
        finally:
            for number, handler in zip(numbers, before):
                signal.signal(number, handler)

    def test_signals_concern_the_main_thread(self) -> None:
        hub = Hub()

        async def watch() -> None:
            hub.watch_server()

        got: list[Any] = []
        asyncio.run(watch())
        thread = threading.Thread(target=lambda: got.append(asyncio.run(watch())))
        thread.start()
        thread.join()
        assert got == [None]
        asyncio.run(hub.aclose())

    def test_a_thousand_lives_leave_nothing(self) -> None:
        async def live(count: int) -> None:
            async with Hub(stream_ttl_ms=1000) as hub:
                for n in range(count):
                    stop = n % 2
                    stream = await hub.create(producer=words)
                    async with hub.subscribe(stream.id) as reader:
                        first = await reader.__anext__()
                    if stop:
                        await hub.stop(stream.id)
                    async with hub.subscribe(stream.id, first.id) as reader:
                        async for _ in reader:
                            pass
                    await hub.remove(stream.id)
                    gc.collect(0)
                assert await hub.streams() == []
                assert hub._doors.here().handlers == {}

        async def words() -> Any:
            for n in range(5):
                yield "x" * 1000
                await asyncio.sleep(0)

        asyncio.run(live(200))
        gc.collect()
        before, descriptors = resident(), len(os.listdir("/proc/self/fd"))
        asyncio.run(live(1000))
        gc.collect()
        if "asan" not in os.environ.get("LD_PRELOAD", ""):  # which keeps what is freed
            assert resident() < before + (4 << 20)
        assert len(os.listdir("/proc/self/fd")) <= descriptors


def resident() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
