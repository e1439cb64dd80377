"""A server under test, as a process of its own.

It takes the flags of sse-server and prints `listening on http://HOST:PORT`
when it is ready.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path

from suite.wire import TIMEOUT_S

_SANITIZER_REPORT = re.compile(r"runtime error:|ERROR: \w+Sanitizer")


class Server:
    def __init__(self, command: Sequence[str], **options: object) -> None:
        """`log_events=10` becomes `--log-events 10`."""
        flags = [] if "port" in options else ["--port", "0"]
        for name, value in options.items():
            flags += ["--" + name.replace("_", "-"), str(value)]
        self._errors = tempfile.TemporaryFile()
        self.process = subprocess.Popen(
            [*command, *flags],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )
        self._url: str | None = None
        self._answered = threading.Event()
        threading.Thread(target=self._read_output, daemon=True).start()
        self.base_url = self._wait_for_url()

    def _read_output(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            match = re.match(r"listening on (http://\S+)", line)
            if match and not self._url:
                self._url = match[1].rstrip("/")
                self._answered.set()
        self._answered.set()

    def _wait_for_url(self) -> str:
        if self._answered.wait(TIMEOUT_S) and self._url:
            return self._url
        self.kill()
        raise AssertionError(f"the server did not start: {self.errors()}")

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def port(self) -> int:
        return int(self.base_url.rpartition(":")[2])

    def alive(self) -> bool:
        return self.process.poll() is None

    def errors(self) -> str:
        """What it wrote to standard error."""
        file = self._errors.fileno()
        # Not by seek: the place where it writes is the same.
        return os.pread(file, os.fstat(file).st_size, 0).decode(errors="replace")

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def wait(self, timeout_s: float = TIMEOUT_S) -> int:
        """Its exit status, when it has ended by itself."""
        status = self.process.wait(timeout_s)
        report = _SANITIZER_REPORT.search(self.errors())
        assert not report, self.errors()
        return status

    def stop(self) -> None:
        """Asks it to end, and demands that it does so cleanly."""
        if self.alive():
            self.signal(signal.SIGTERM)
        try:
            status = self.wait()
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError("the server does not end on SIGTERM") from None
        assert status == 0, f"exit status {status}: {self.errors()}"

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(TIMEOUT_S)

    def memory_bytes(self) -> int:
        return self._memory("VmRSS")

    def peak_memory_bytes(self) -> int:
        return self._memory("VmHWM")

    def _memory(self, field: str) -> int:
        text = Path(f"/proc/{self.pid}/status").read_text()
        match = re.search(rf"^{field}:\s+([0-9]+) kB", text, re.MULTILINE)
        assert match
        return int(match[1]) * 1024

    def open_sockets(self) -> int:
        folder = Path(f"/proc/{self.pid}/fd")
        return sum(is_socket(link) for link in folder.iterdir())


def is_socket(link: Path) -> bool:
    try:
        return os.readlink(link).startswith("socket:")
    except FileNotFoundError:  # closed in this moment
        return False
