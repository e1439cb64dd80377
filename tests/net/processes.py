"""Starts the scripts beside this file as processes of their own."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent


class Script:
    """A running script. Use it in a `with`, which ends it in any case."""

    def __init__(self, name: str, task: dict[str, Any]) -> None:
        path = os.pathsep.join([str(HERE.parent), str(HERE)])
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / name)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": path},
        )
        assert self.process.stdin
        self.process.stdin.write(json.dumps(task) + "\n")
        self.process.stdin.close()

    def __enter__(self) -> "Script":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()

    def lines(self) -> Iterator[str]:
        assert self.process.stdout
        return iter(self.process.stdout.readline, "")

    def line(self) -> str:
        line = next(self.lines(), None)
        assert line is not None, f"exit status {self.process.wait()}"
        return line.rstrip("\n")

    def progress(self, count: int) -> None:
        """Waits until it has reported so much."""
        while True:
            word, _, number = self.line().partition(" ")
            assert word == "progress", "it was done too early"
            if int(number) >= count:
                return

    def result(self) -> Any:
        """Its last line, when it has ended by itself."""
        lines = list(self.lines())
        status = self.process.wait()
        assert status == 0, f"exit status {status}"
        return json.loads(lines[-1])
