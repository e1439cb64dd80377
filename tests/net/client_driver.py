"""Clients of the library, in a process of their own (tests/service)."""

import json
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from typing import Any

from suite.server import _SANITIZER_REPORT
from suite.wire import TIMEOUT_S

News = dict[str, Any]
Entry = list[str | None]

NEVER = -1  # in an option


class Driver:
    """Use it in a `with`, which demands a clean end."""

    def __init__(self, path: str) -> None:
        self._errors = tempfile.TemporaryFile("w+")
        self._clients: dict[int, Client] = {}
        self.moved = threading.Condition()
        self.ended = False
        self.process = subprocess.Popen(
            [path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> "Driver":
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        try:
            status = self.process.wait(TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            status = None
        self._errors.seek(0)
        errors = self._errors.read()
        if kind is None:
            assert status == 0, f"exit status {status}: {errors}"
            assert not _SANITIZER_REPORT.search(errors), errors
        elif errors:
            print(errors)

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            news = json.loads(line)
            with self.moved:
                self._clients[news["client"]].add(news)
                self.moved.notify_all()
        with self.moved:
            self.ended = True
            self.moved.notify_all()

    def send(self, **command: Any) -> None:
        assert self.process.stdin
        self.process.stdin.write(json.dumps(command).encode() + b"\n")
        self.process.stdin.flush()

    def start(self, url: str, **options: Any) -> "Client":
        """A client that must start."""
        client = self.prepare()
        assert client.ask("start", url=url, **options) == 0
        return client

    def prepare(self) -> "Client":
        number = len(self._clients)
        self._clients[number] = Client(self, number)
        return self._clients[number]


class Client:
    """One client, and all that it has told."""

    def __init__(self, driver: Driver, number: int) -> None:
        self.driver = driver
        self.number = number
        self.news: list[News] = []
        self.answers: list[News] = []
        self.seen = 0  # the news before this place have been waited for

    def add(self, news: News) -> None:
        (self.answers if news["kind"] == "answer" else self.news).append(news)

    def command(self, do: str, **members: Any) -> News:
        """Gives the answer to a command."""
        count = len(self.answers)
        self.driver.send(do=do, client=self.number, **members)
        self.until(lambda: len(self.answers) > count, f"an answer to {do}")
        assert self.answers[count]["do"] == do
        return self.answers[count]

    def ask(self, do: str, **members: Any) -> int:
        return int(self.command(do, **members)["rc"])

    def do(self, do: str, **members: Any) -> None:
        """A command that must succeed."""
        assert self.ask(do, **members) >= 0

    def until(self, condition: Callable[[], Any], what: str = "") -> None:
        with self.driver.moved:
            end = time.monotonic() + TIMEOUT_S
            while not condition():
                left = end - time.monotonic()
                assert left > 0 and not self.driver.ended, (
                    f"no {what}; it told {self.news[-30:]}"
                )
                self.driver.moved.wait(left)

    def wait(self, kind: str, **members: Any) -> News:
        """The next news of that kind, with these members, from here on."""
        wanted = {"kind": kind, **members}

        def find() -> bool:
            while self.seen < len(self.news):
                news = self.news[self.seen]
                self.seen += 1
                if wanted.items() <= news.items():
                    return True
            return False

        self.until(find, str(wanted))
        return self.news[self.seen - 1]

    def of(self, kind: str) -> list[News]:
        """All of a kind so far."""
        with self.driver.moved:
            return [news for news in self.news if news["kind"] == kind]

    def wait_events(self, count: int) -> list[News]:
        """Waits until there are so many, and gives all there are."""
        self.until(lambda: self._count("event") >= count, f"{count} events")
        return self.of("event")

    def _count(self, kind: str) -> int:
        return sum(news["kind"] == kind for news in self.news)

    def entries(self) -> list[Entry]:
        """Its events as transcripts.py wants them."""
        return [[e["id"], e["type"], e["data"]] for e in self.of("event")]

    def datas(self) -> list[str]:
        return [event["data"] for event in self.of("event")]

    def causes(self) -> list[str]:
        return [error["cause"] for error in self.of("error")]
