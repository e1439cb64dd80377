"""A redis-server of the test's own, on a free port, in a temporary directory.

    with RedisServer("--maxmemory", "100mb") as server:
        server.client().ping()

It keeps nothing unless told: a start finds what is in its directory, and
`restart(with_data=True)` puts it there.
"""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import redis

from suite.ports import free_port

START_S = 60  # so that a failure ends; nothing is measured by it


class RedisServer:
    def __init__(self, *options: str) -> None:
        self.options = options
        self.directory = Path(tempfile.mkdtemp(prefix="redis-"))
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None
        self.start()

    def __enter__(self) -> "RedisServer":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        assert self.process
        return self.process.pid

    def client(self, **options: Any) -> redis.Redis:
        """A connection that never repeats a command by itself."""
        options = {"decode_responses": True, "protocol": 2, **options}
        return redis.Redis("127.0.0.1", self.port, retry=None, **options)

    def start(self) -> None:
        """The same port again after the first time."""
        log = self.directory / "redis.log"
        self.process = subprocess.Popen(
            [
                "redis-server",
                *("--port", str(self.port), "--bind", "127.0.0.1"),
                *("--dir", str(self.directory), "--logfile", str(log)),
                *("--save", "", "--appendonly", "no", *self.options),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + START_S
        while not self.answers():
            running = self.process.poll() is None
            if not running or time.monotonic() > deadline:
                self.kill()
                raise AssertionError(f"redis-server: {log.read_text()}")
            time.sleep(0.01)

    def answers(self) -> bool:
        try:
            with self.client(socket_timeout=1) as client:
                return client.info("server")["process_id"] == self.pid
        except redis.AuthenticationError:
            return True
        except redis.RedisError:
            return False

    def kill(self) -> None:
        """SIGKILL: what is only in memory is gone."""
        assert self.process
        self.process.kill()
        self.process.wait()

    def wait(self) -> None:
        """Until it has ended by itself."""
        assert self.process
        self.process.wait(START_S)

    def restart(self, with_data: bool) -> None:
        """Killed and started, with all of its data or with none."""
        if with_data:
            with self.client() as client:
                client.save()
        self.kill()
        if not with_data:
            for left in self.directory.iterdir():
                shutil.rmtree(left) if left.is_dir() else left.unlink()
        self.start()

    def pause(self) -> None:
        """It answers nothing, and connections stay open."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def cut(self, kind: str = "normal") -> int:
        """Closes clients' connections: normal, pubsub or replica. How many."""
        with self.client() as client:
            return int(
                client.execute_command("CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes")
            )

    def close(self) -> None:
        if self.process and self.process.poll() is None:
            self.resume()
            self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)
