"""Under real servers, as programs of their own: a stream is read and resumed, a
reader's going away stops nothing, a stop stops, and a shutdown ends in time with a
complete response for who still reads."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from suite.ports import free_port
from suite.sse_reader import Event, Parser
from suite.wire import Connection

HERE = Path(__file__).resolve().parent
PYTHON = [sys.executable, "-m"]

# Each gets " PORT"; where it listens, where the pieces of a shutdown are its own.
COMMANDS = {
    "uvicorn": [*PYTHON, "uvicorn", "app_hub:app", "--port", "{port}"],
    "uvicorn uvloop": [
        *PYTHON, "uvicorn", "app_hub:app", "--loop", "uvloop", "--port", "{port}",
    ],
    "uvicorn h11": [
        *PYTHON, "uvicorn", "app_hub:app", "--http", "h11", "--port", "{port}",
    ],
    "uvicorn --reload": [
        *PYTHON, "uvicorn", "app_hub:app", "--reload", "--port", "{port}",
    ],
    "uvicorn in a thread": [sys.executable, str(HERE / "thread_server.py"), "{port}"],
    "gunicorn": [
        *PYTHON, "gunicorn", "app_hub:app", "-k", "uvicorn_worker.UvicornWorker",
        "-b", "127.0.0.1:{port}",
    ],
    "gunicorn --preload": [
        *PYTHON, "gunicorn", "app_hub:app", "-k", "uvicorn_worker.UvicornWorker",
        "--preload", "-b", "127.0.0.1:{port}",
    ],
    "hypercorn": [*PYTHON, "hypercorn", "app_hub:app", "-b", "127.0.0.1:{port}"],
    "hypercorn trio": [
        *PYTHON, "hypercorn", "app_hub:app", "-k", "trio", "-b", "127.0.0.1:{port}",
    ],
    "granian": [
        *PYTHON, "granian", "--interface", "asgi", "app_hub:app", "--port", "{port}",
    ],
}  # fmt: skip

DEADLINE_S = 20.0  # far above what a shutdown takes, far below for ever


class Server:
    def __init__(
        self,
        name: str,
        command: list[str],
        folder: Path,
        ready: str = "/pid",
        **environment: str,
    ) -> None:
        self.name = name
        self.port = free_port()
        self.base_url = f"http://127.0.0.1:{self.port}"
        self.notes = folder / "notes"
        self.notes.touch()
        self._log = open(folder / "log", "w+")
        self.process = subprocess.Popen(
            [part.format(port=self.port) for part in command],
            cwd=HERE,
            env={**os.environ, "APP_NOTES": str(self.notes), **environment},
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._wait(ready)

    def _wait(self, ready: str) -> None:
        """Until it answers, whatever it answers."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                with Connection(self.base_url) as connection:
                    if connection.ask("GET", ready).status != 503:
                        return
            except (OSError, AssertionError):
                time.sleep(0.05)
        status = self.process.poll()
        self.kill()
        raise AssertionError(f"the server did not start: {status}, {self.log()}")

    def log(self) -> str:
        self._log.seek(0)
        return self._log.read()

    def kill(self) -> None:
        """It and its workers. Once it has ended, its number may be another's."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def read(self, method: str, target: str, cursor: str = "") -> Reading:
        return Reading(self.base_url, method, target, cursor)


class Reading:
    """A response, read by a thread."""

    def __init__(self, base_url: str, method: str, target: str, cursor: str) -> None:
        self.connection = Connection(base_url)
        headers = [("Last-Event-ID", cursor)] if cursor else []
        body = b"" if method == "POST" else None
        self.connection.request(method, target, headers, body)
        self.head = self.connection.read_head()
        assert self.head.status == 200, self.head
        self.events: list[Event] = []
        self.error: BaseException | None = None
        self._more = threading.Condition()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        parser = Parser()
        try:
            for piece in self.connection.read_body(self.head):
                for item in parser.feed(piece):
                    if isinstance(item, Event):
                        with self._more:
                            self.events.append(item)
                            self._more.notify()
            assert not parser.unfinished
        except BaseException as error:
            self.error = error

    def wait_for(self, count: int) -> list[Event]:
        with self._more:
            assert self._more.wait_for(lambda: len(self.events) >= count, 30)
            return self.events[:count]

    def rest(self) -> list[Event]:
        """All events, up to the end of a complete response."""
        self._thread.join(30)
        assert not self._thread.is_alive(), "the response does not end"
        if self.error is not None:
            raise self.error
        return self.events


@pytest.fixture(params=list(COMMANDS))
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    server = Server(request.param, COMMANDS[request.param], tmp_path)
    yield server
    server.kill()


def test_a_life(server: Server) -> None:
    check_a_life(server, "/chat/b/stop", 200)
    assert server.notes.read_text().split() == ["finally", "cancelled", "finally"]


def check_a_life(server: Server, stop: str, status: int) -> list[Event]:
    """Of two streams; gives the events of the first."""
    events = server.read("POST", "/chat/a?count=20").rest()
    assert [e.data for e in events[:-1]] == [f"token {n}" for n in range(20)]
    assert events[-1].type == "completed"
    again = server.read("POST", "/chat/a?count=20", events[4].id or "")
    assert again.rest() == events[5:]  # nothing was produced a second time

    reader = server.read("POST", "/chat/b")
    reader.wait_for(3)
    reader.connection.reset()
    later = server.read("GET", "/chat/b")
    later.wait_for(10)
    with Connection(server.base_url) as connection:
        assert connection.ask("POST", stop, body=b"").status == status
    assert later.rest()[-1].type == "cancelled"
    return events


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_shutdown(server: Server, number: int) -> None:
    readers = [server.read("POST", "/chat/a") for _ in range(3)]
    for reader in readers:
        reader.wait_for(3)
    began = time.monotonic()
    if number == signal.SIGINT:  # as a terminal has it: all of them
        os.killpg(server.process.pid, number)
    else:
        server.process.send_signal(number)
    for reader in readers:
        assert reader.rest()[-1].type == "cancelled"
    server.process.wait(DEADLINE_S)
    assert time.monotonic() - began < DEADLINE_S
    assert server.notes.read_text().split() == ["cancelled", "finally"]


def wait_for_workers(server: Server, count: int) -> None:
    """Until so many have answered."""
    pids = set()
    while len(pids) < count:
        with Connection(server.base_url) as connection:
            pids.add(connection.ask("GET", "/pid").json())


@pytest.mark.parametrize("workers", [2, 4])
def test_workers_on_one_redis(url: str, workers: int, tmp_path: Path) -> None:
    """Whichever worker is asked, every transcript is the same."""
    command = [*COMMANDS["uvicorn"], "--workers", str(workers)]
    server = Server("uvicorn", command, tmp_path, APP_STORE=url)
    try:
        wait_for_workers(server, 2)
        transcripts: dict[str, list[Event]] = {}
        for n in range(6):
            target = f"/chat/s{n}?count=50"
            readers = [server.read("POST", target) for _ in range(6)]
            whole = readers[0].rest()
            assert [e.data for e in whole[:-1]] == [f"token {n}" for n in range(50)]
            assert all(reader.rest() == whole for reader in readers)
            transcripts[f"s{n}"] = whole
        for id, whole in transcripts.items():
            for _ in range(4):
                rest = server.read("GET", f"/chat/{id}", whole[9].id or "").rest()
                assert rest == whole[10:]
    finally:
        server.kill()
