"""sse-producer (tests/service): programs with hubs and streams of their own."""

import json
import signal
import subprocess
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from suite.server import _SANITIZER_REPORT
from suite.wire import TIMEOUT_S

Told = dict[str, Any]


class Producer:
    """`lease_ms=1000` becomes `--lease-ms 1000`. Use it in a `with`, which
    demands a clean end if it was not killed."""

    def __init__(self, build_dir: Path, store: str, **options: object) -> None:
        flags = [["--store", store]]
        for name, value in options.items():
            flags.append(["--" + name.replace("_", "-"), str(value)])
        self.told: list[Told] = []
        self.moved = threading.Condition()
        self.killed = False
        self._errors = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(
            [build_dir / "tests" / "sse-producer", *sum(flags, [])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> "Producer":
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind:
            self.process.kill()
            print(self.errors())
        self.finish()

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            if line.endswith(b"\n"):  # not one that SIGKILL has cut
                with self.moved:
                    self.told.append(json.loads(line))
                    self.moved.notify_all()

    def errors(self) -> str:
        self._errors.seek(0)
        return self._errors.read()

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def kill(self) -> None:
        """As a crash would."""
        self.killed = True
        self.process.kill()
        self.process.wait()

    def finish(self) -> None:
        """The end of its input, which ends it."""
        assert self.process.stdin
        if not self.process.stdin.closed:
            self.process.stdin.close()
        try:
            status = self.process.wait(TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise AssertionError("sse-producer does not end") from None
        self._reader.join()
        assert status in (0, -signal.SIGKILL), f"{status}: {self.errors()}"
        assert not _SANITIZER_REPORT.search(self.errors()), self.errors()

    def all(self, what: str, stream: str | None = None) -> list[Told]:
        with self.moved:
            return [
                told
                for told in self.told
                if told["what"] == what and stream in (None, told["stream"])
            ]

    def wait_for(self, true: Callable[[], Any], what: str = "") -> Any:
        """Gives what it became when something was told."""
        with self.moved:
            done = self.moved.wait_for(true, TIMEOUT_S)
            assert done, f"{what or 'it'} was not told: {self.told[-5:]}"
        return done

    def wait_for_count(self, what: str, count: int) -> list[Told]:
        return self.wait_for(
            lambda: len(found := self.all(what)) >= count and found, what
        )

    def records(self, stream: str) -> list[list[Any]]:
        """What it wrote, as store_verdict.py has it."""
        types = {"event": "message", "end": "completed"}
        return [
            [told["id"], types[told["what"]], told["data"], True]
            for told in self.told
            if told["stream"] == stream and told["what"] in types
        ]

    def metric(self, name: str) -> float:
        """Once it has ended."""
        (metrics,) = self.all("metrics")
        for line in metrics["data"].splitlines():
            if line.startswith(name + " "):
                return float(line.split()[1])
        raise AssertionError(f"there is no {name}")
